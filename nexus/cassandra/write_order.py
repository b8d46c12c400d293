"""In which order writes count, whenever they arrive: by timestamps made from offsets of the log.

They lie above every clock. Two ledgers that folded the same facts write the same; a late write of an older state is
older, and is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

__all__ = ["BEGINNING", "Stamp", "Stamps", "timestamp"]

_ABOVE_EVERY_CLOCK = 1 << 60
"""Microseconds: some 36,000 years from now."""

BEGINNING = -1
"""The position of a request, before every fact."""

_LEAST = timedelta(hours=1)
"""How long a row is kept that is folded when its time is over: long enough for its later facts to find it."""

_LONGEST = timedelta(days=20 * 365)
"""The limit of Cassandra."""

Stamp = tuple[int, ...]
"""What a write's USING takes: the TTL in seconds and, where the store takes any, the timestamp."""


def timestamp(position: int) -> int:
    return _ABOVE_EVERY_CLOCK + position - BEGINNING


class Stamps(NamedTuple):
    lifetime: timedelta
    clock: Callable[[], datetime]
    timestamps: bool

    def ttl(self, received: datetime) -> int:
        """Seconds for which a row is kept whose run was received then."""
        left = received + self.lifetime - self.clock()
        return int(max(_LEAST, min(left, _LONGEST)).total_seconds())

    def of(self, ttl: int, position: int) -> Stamp:
        return (ttl, timestamp(position)) if self.timestamps else (ttl,)

    def ending(self, position: int) -> Stamp:
        """For a deletion, which has no TTL."""
        return (timestamp(position),) if self.timestamps else ()
