"""One process of a server: detached, so that it outlives whoever started it, and found again by its PID file."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.services.errors import ServiceError

__all__ = ["Component"]

_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
_PAUSE = 0.1  # seconds between two looks
_SLACK = 2.0  # seconds: a start time is not exact
_TAIL = 3000


@dataclass(frozen=True)
class Component:
    """A command, where it leaves its log and PID, and how it shows that it serves."""

    name: str
    folder: Path
    command: Sequence[str | Path]
    ready: Callable[[], bool]
    """May raise OSError, which is "no"."""
    timeout: float = 180.0
    """Seconds from start to ready. An API server that comes back to its clients on a busy machine takes one or two minutes."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start the process, unless it runs; it may not serve yet."""
        if self.running():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawnp(
            os.fspath(self.command[0]),
            [os.fspath(word) for word in self.command],
            os.environ | self.environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.fspath(self.log), write, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        self._pid_file.write_text(json.dumps({"pid": pid, "started": psutil.Process(pid).create_time()}))

    def stop(self) -> None:
        """End the process politely, and after three seconds by force: some of them never answer SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process as a crash would."""
        self._end(signal.SIGKILL)

    def running(self) -> bool:
        return self._process() is not None

    @property
    def pid(self) -> int | None:
        """While it runs."""
        process = self._process()
        return process.pid if process else None

    def healthy(self) -> bool:
        """Whether it serves now."""
        with suppress(OSError):
            return self.ready()
        return False

    def wait_ready(self) -> None:
        """Return as soon as it serves; raises ServiceError with the end of its log when that does not happen."""
        end = time.monotonic() + self.timeout
        while not self.healthy():
            if not self.running():
                raise ServiceError(f"{self.name} ended while it started.\n{self._last_words()}")
            if time.monotonic() > end:
                raise ServiceError(
                    f"{self.name} does not serve after {self.timeout:g} s.\n{self._last_words()}"
                )
            time.sleep(_PAUSE)

    @property
    def _pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def _process(self) -> psutil.Process | None:
        """The process itself, not another one that has its number now."""
        try:
            mark = json.loads(self._pid_file.read_text())
            with suppress(ChildProcessError):  # ours, or of another process of the same test run
                os.waitpid(mark["pid"], os.WNOHANG)
            process = psutil.Process(mark["pid"])
            ours = abs(process.create_time() - mark["started"]) < _SLACK
            # The first thread may be gone while others still hold the ports.
            ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process if ours and not ended else None

    def _end(self, number: signal.Signals) -> None:
        process = self._process()
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            force = time.monotonic() + _GRACE
            while (process := self._process()) is not None:
                if time.monotonic() > force:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                time.sleep(_PAUSE / 5)
        self._pid_file.unlink(missing_ok=True)

    def _last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"The end of {self.log}:\n{text[-_TAIL:]}"
