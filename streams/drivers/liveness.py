"""Whether a driver gets on with what there is to do."""

from __future__ import annotations

from datetime import datetime, timedelta

from streams.processor import Clock

__all__ = ["Liveness"]

_TOO_LONG = timedelta(seconds=60)


class Liveness:
    """`name` is the consumer group whose progress it is."""

    def __init__(self, name: str | None, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._waiting_since: datetime | None = None

    def waits(self) -> None:
        """There is something to do. Said again, it does not start the time anew."""
        self._waiting_since = self._waiting_since or self._clock()

    def made(self) -> None:
        """Some of it was done, or nothing is left."""
        self._waiting_since = None

    def problem(self) -> str | None:
        """What is wrong once nothing was done for longer than anything should take."""
        waited = self._clock() - self._waiting_since if self._waiting_since else timedelta(0)
        if waited < _TOO_LONG:
            return None
        return f"{self._name} has not got on with its records for {waited.total_seconds():.0f} s: see its log"
