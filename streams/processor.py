"""What a processor is to a driver: plain code over deliveries, each to be acknowledged once its effect is durable."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from nexus.ports import Partition, Record

__all__ = ["Ack", "Clock", "Delivery", "Driver", "Processor"]

Clock = Callable[[], datetime]


Ack = Callable[[], None]
"""Says that a record's effect is durable. It holds no record, so that it may be kept for long."""


class Delivery(NamedTuple):
    """A record handed to a processor. Until it is acknowledged, a restart delivers it again."""

    record: Record
    ack: Ack


class Processor(Protocol):
    """`Unavailable` from `process` makes the driver deliver the same batch again, after a pause, without end."""

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """From now on these are delivered here, of every partition of the topics. What is held of others is void:
        its acknowledgement does nothing, and somebody else gets it. Comes before the first delivery, and at every change.
        """
        ...

    async def process(self, batch: Sequence[Delivery]) -> None: ...

    async def caught_up(self, until: datetime) -> None:
        """Every record that the log took before then has been delivered and acknowledged, or is held here."""
        ...


class Driver(Protocol):
    """Feeds one processor from the log."""

    async def run(self) -> None:
        """Until cancelled; then what was acknowledged is committed."""
        ...

    def problem(self) -> str | None:
        """What keeps the processor from going on although there is something to do; None while it goes on."""
        ...
