"""The command of one pod as a process group: started without a shell, killed whole."""

from __future__ import annotations

import os
import signal
import sys

from nexus.embedded.cluster.processes import MARK, signal_group
from nexus.embedded.cluster.work_order import Order

__all__ = ["Command", "StartError"]

_RESET = [
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGTERM,
    signal.SIGCHLD,
]  # Python's choices are not the command's


class StartError(Exception):
    """The command cannot be executed; the message is in the words of a container runtime."""


class Command:
    """Raises StartError. The caller's directory is what it was when this returns."""

    def __init__(self, order: Order, log: str) -> None:
        environment = {**os.environ, **order["environment"], MARK: order["uid"]}
        path = os.pathsep.join((os.path.dirname(sys.executable), environment.get("PATH", os.defpath)))  # noqa: PTH120
        environment["PATH"] = path
        log = os.path.abspath(log)  # noqa: PTH100 - the owner must start without pathlib
        home = os.open(".", os.O_RDONLY)
        try:
            _enter(order["directory"])
            self.pid = _spawn(order["command"], environment, path, log)
        finally:
            os.fchdir(home)
            os.close(home)
        self._ended = False

    def signal(self, number: int) -> None:
        if not self._ended:
            signal_group(self.pid, number)

    def poll(self) -> int | None:
        """The exit code once the command has ended, -n after signal n; what it left behind is killed."""
        if self._ended or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return None
        return self._reap()

    def kill(self) -> None:
        """Kill all of it, now, and wait for its end."""
        if not self._ended:
            self._reap()

    def _reap(self) -> int:
        signal_group(
            self.pid, signal.SIGKILL
        )  # before it is waited for: from then on the number may be another's
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._ended = True
        return code


def _enter(directory: str) -> None:
    if not directory:
        raise StartError("the template of this Job's algorithm has no folder to run in")
    try:
        os.chdir(directory)
    except OSError as error:
        raise StartError(f'chdir to cwd ("{directory}") failed: {_why(error)}') from error


def _spawn(command: list[str], environment: dict[str, str], path: str, log: str) -> int:
    if not command:
        raise StartError("no command specified")
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return os.posix_spawn(
            _executable(command[0], path),
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, writing, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setpgroup=0,
            setsigmask=[],
            setsigdef=_RESET,
        )
    except OSError as error:
        raise StartError(f'exec: "{command[0]}": {_why(error)}') from error


def _executable(name: str, path: str) -> str:
    if "/" in name:
        return name
    for folder in path.split(os.pathsep):
        candidate = os.path.join(folder, name)  # noqa: PTH118
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):  # noqa: PTH113
            return candidate
    raise StartError(f'exec: "{name}": executable file not found in $PATH')


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
