"""The ports that the processors of one process work with."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from nexus.journal import Journal
from nexus.ports import RunStore
from streams.processor import Clock

__all__ = ["Context"]


class Context(msgspec.Struct, frozen=True):
    """The log and the projections, with time and chance from outside."""

    store: RunStore
    journal: Journal
    clock: Clock
    monotonic: Callable[[], float]
    """Seconds."""
    chance: Callable[[], float]
    """A number from 0 to 1, for delays that are to be spread."""
