"""What a driver expects of a processor: code over deliveries that acknowledges each once its effects are durable."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from nexus.ports import Partition, Record

__all__ = ["Ack", "Clock", "Delivery", "Driver", "Processor"]

Clock = Callable[[], datetime]


Ack = Callable[[], None]
"""Acknowledges a record: its effects are durable. It holds no record, so that it may be kept for long."""


class Delivery(NamedTuple):
    """A record handed to a processor. Until it is acknowledged, a restart delivers it again."""

    record: Record
    ack: Ack


class Processor(Protocol):
    """Code that handles batches of records.

    Where `process` raises `Unavailable`, the driver delivers the same batch again after a backoff, without end.
    """

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """Take over the partitions `mine`, of `every` partition: before the first delivery, and at each change.

        Deliveries of other partitions that are held here are void: their acks do nothing, and another member gets them.
        """
        ...

    async def process(self, batch: Sequence[Delivery]) -> None:
        """Handle a batch, and acknowledge each of its deliveries, now or later."""
        ...

    async def caught_up(self, until: datetime) -> None:
        """Learn that every record from before then was delivered, and is acknowledged or held here."""
        ...


class Driver(Protocol):
    """Feeds one processor from the log."""

    async def run(self) -> None:
        """Deliver until cancelled; then commit what was acknowledged."""
        ...

    def problem(self) -> str | None:
        """Tell what is wrong where nothing gets on although there is something to do; else None."""
        ...
