"""What a processor is to a driver: plain code over deliveries, each to be acknowledged once its effect is durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from nexus.ports import Record

__all__ = ["Ack", "Clock", "Delivery", "Processor"]

Clock = Callable[[], datetime]


Ack = Callable[[], None]
"""Says that a record's effect is durable. It holds no record, so that it may be kept for long."""


class Delivery(NamedTuple):
    """A record handed to a processor. Until it is acknowledged, a restart delivers it again."""

    record: Record
    ack: Ack


class Processor(Protocol):
    """`Unavailable` from `process` makes the driver deliver the same batch again, after a pause, without end."""

    async def process(self, batch: Sequence[Delivery]) -> None: ...

    async def caught_up(self, until: datetime) -> None:
        """Every record that the log took before then has been delivered and acknowledged, or is held here."""
        ...
