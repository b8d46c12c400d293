"""Notifications: one record on `nexus.results` for each run that ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from nexus.domain.events import TerminalFact, event_id
from nexus.domain.run import notification
from nexus.journal import Journal
from nexus.ports import Partition, RunStore
from streams.folded import rows_beyond
from streams.processor import Clock, Delivery

__all__ = ["Notifications"]


class Notifications:
    """Announces the terminal fact that ended a run; after a crash perhaps again, under the same event id."""

    def __init__(self, store: RunStore, journal: Journal, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """Take any partitions: whoever gets an end can announce it."""

    async def process(self, batch: Sequence[Delivery]) -> None:
        events = await self._journal.read((delivery.record for delivery in batch), self._clock())
        ends = [(record, event) for record, event in events if isinstance(event, TerminalFact)]
        runs = await rows_beyond(self._store, [record for record, _ in ends])
        await self._journal.append(
            notification(run)
            for _, event in ends
            if (run := runs.get(event.request_id)) and run.ended_by == event_id(event)
        )
        for delivery in batch:
            delivery.ack()

    async def caught_up(self, until: datetime) -> None:
        """Nothing waits here."""
