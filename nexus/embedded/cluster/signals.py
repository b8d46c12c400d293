"""Waiting for a child, for a signal or for a moment, whichever is first, in one thread and on every Unix."""

from __future__ import annotations

import os
import select
import signal

__all__ = ["Signals"]


class Signals:
    """SIGCHLD and SIGTERM wake up `wait`; nothing is interrupted elsewhere."""

    def __init__(self) -> None:
        self._reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float | None) -> bool:
        """True when SIGTERM came; returns early after any signal."""
        ready, _, _ = select.select([self._reading], [], [], None if seconds is None else max(0.0, seconds))
        return bool(ready) and signal.SIGTERM in os.read(self._reading, 4096)
