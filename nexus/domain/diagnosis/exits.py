"""What the end of a container means: exit codes of shells, and signals, as Linux numbers them."""

from __future__ import annotations

import msgspec

from nexus.domain.observed import Terminated

__all__ = ["EXIT_CODES", "SIGNALS", "Signal", "exit_advice", "exit_words", "signal_of"]


class Signal(msgspec.Struct, frozen=True):
    name: str
    meaning: str
    hint: str


_STOPPED = "Somebody, or the node, asked it to stop: see the cluster's events for who did."
_CRASHED = (
    "It crashed in native code: look for the library that it was in, and for input that it cannot take."
)

SIGNALS = {
    1: Signal("SIGHUP", "its terminal went away", _STOPPED),
    2: Signal("SIGINT", "it was interrupted", _STOPPED),
    3: Signal("SIGQUIT", "it was asked to quit", _STOPPED),
    4: Signal("SIGILL", "an illegal instruction", "The image may be built for another kind of processor."),
    6: Signal("SIGABRT", "it aborted itself", "An assertion failed, or memory was damaged: see the log."),
    7: Signal("SIGBUS", "a bad memory access", _CRASHED),
    8: Signal("SIGFPE", "an arithmetic error", "It divided by zero in native code: see the log."),
    9: Signal(
        "SIGKILL",
        "it was killed",
        "The node may have run out of memory, or somebody killed it: see the cluster's events.",
    ),
    11: Signal("SIGSEGV", "an invalid memory reference", _CRASHED),
    13: Signal("SIGPIPE", "it wrote to a closed pipe", "What it wrote to had ended before it: see the log."),
    15: Signal("SIGTERM", "it was asked to stop", _STOPPED),
    24: Signal("SIGXCPU", "its limit of processor time was reached", "Raise the limit that the image sets."),
    31: Signal(
        "SIGSYS", "a forbidden system call", "The node's seccomp profile does not allow what it does."
    ),
}
"""By number. A container that is ended by signal n has exit code 128 + n."""

EXIT_CODES = {
    126: "The command is there and cannot be executed: check its permissions, and what kind of file it is.",
    127: "The command, or a program that it calls, is not in the image or not on its PATH.",
}
"""What to do about exit codes that shells give a meaning."""


def signal_of(end: Terminated | None) -> Signal | None:
    """The signal that ended a container, or may have where its cluster does not tell."""
    if end is None or end.exit_code == 0:
        return None
    return SIGNALS.get(end.exit_code - 128 if end.signal is None else end.signal)


def exit_words(end: Terminated | None) -> str:
    """How a container ended, with the last that it said."""
    if end is None:
        return ""
    signal = signal_of(end)
    by = f", {signal.name}: {signal.meaning}" if signal and end.reason == "Error" else ""
    if by and end.signal is None:
        by = f"{by}; or it is the program's own exit code"
    said = f": {end.message.strip()}" if end.message.strip() else ""
    return f"The last container ended with exit code {end.exit_code} ({end.reason}{by}){said}"


def exit_advice(end: Terminated | None) -> str:
    if end is None:
        return ""
    signal = signal_of(end)
    return signal.hint if signal else EXIT_CODES.get(end.exit_code, "")
