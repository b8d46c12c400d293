"""Processes known by more than a number: a PID may belong to somebody else by the time it is used."""

from __future__ import annotations

import os
import signal
from typing import TypedDict

__all__ = ["MARK", "Mark", "kill_leftovers", "resident_bytes", "signal_group", "signal_process"]

MARK = "NEXUS_JOB_UID"
"""The environment variable that every process of a Job inherits."""

_SLACK = 2.0  # seconds between the clock that we read and the start that the kernel reports


class Mark(TypedDict):
    """`started` is in seconds since the epoch, and not exact."""

    pid: int
    started: float


def signal_process(who: Mark, number: int) -> bool:
    """False when that process is gone, even if another has its number now."""
    import psutil  # here and below: most owners never need it

    try:
        process = psutil.Process(who["pid"])
        if abs(process.create_time() - who["started"]) > _SLACK:
            return False
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def signal_group(leader: int, number: int) -> None:
    """Signal a process group whose leader has not been waited for, so that its number is still its own."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # macOS answers the latter when only a zombie is left
        return


def kill_leftovers(job_uid: str, command: Mark | None) -> None:
    """Kill what a dead owner left, and return when it is gone: what has the Job's mark, and the command's group.

    The mark also finds what left the group; the group also finds what wrote over its environment.
    """
    import psutil

    if command and signal_process(
        command, signal.SIGSTOP
    ):  # still its own number, and the group's, until killed
        signal_group(command["pid"], signal.SIGKILL)
    while True:
        found = [process for process in psutil.process_iter() if _belongs(process, job_uid)]
        if not found:
            return
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(found, timeout=1)


def _belongs(process: object, job_uid: str) -> bool:
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == job_uid
    except (psutil.Error, OSError):
        return False


def resident_bytes(root: int) -> int:
    """Of a process and all its descendants; pages that they share count for each."""
    import psutil

    try:
        top = psutil.Process(root)
        family = [top, *top.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total
