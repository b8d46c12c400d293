"""The ledger: folds the facts of every run into its row, and advances the watermark."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from nexus.domain.events import Event, Fact, RunRequested, Swept
from nexus.domain.run import Run, begin, fold
from nexus.journal import Journal
from nexus.ports import Folded, FoldedFact, Partition, Record, RunStore
from streams.processor import Clock, Delivery
from streams.watermark import ALLOWED_SKEW

__all__ = ["CONSUMERS", "Ledger"]

CONSUMERS = "ledger"
"""The consumer group of the ledgers."""


class Ledger:
    """The only writer of the projections."""

    def __init__(self, store: RunStore, journal: Journal, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._mine: Collection[Partition] = ()

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        self._mine = mine
        known = await self._store.folded()
        new = [partition for partition in every if partition not in known]
        # Nothing was accepted yet for a cluster that has just come: the watermark need not wait for it.
        until = self._clock() - ALLOWED_SKEW
        if (watermark := await self._store.watermark()) is not None:
            until = max(until, watermark)
        empty = [partition for partition in new if await self._journal.end(partition) == 0]
        await self._store.advance(dict.fromkeys(empty, until))
        await self._store.expect(new)

    async def process(self, batch: Sequence[Delivery]) -> None:
        events = await self._journal.read((delivery.record for delivery in batch), self._clock())
        runs = await self._store.get_many(list({event.request_id for _, event in events}))
        changes = _Changes(runs)
        # Requests first: a run's request is in the log before any fact of it can be (law 9).
        for _, event in events:
            if isinstance(event, RunRequested):
                changes.request(event)
        for record, event in events:
            if isinstance(event, RunRequested) or changes.fact(record, event):
                continue
            if not isinstance(event, Swept):
                await self._journal.dead_letter(
                    record, "a fact of a run that was never requested", self._clock()
                )
        await self._store.write(changes.folded())
        for delivery in batch:
            delivery.ack()

    async def caught_up(self, until: datetime) -> None:
        await self._store.advance(dict.fromkeys(self._mine, until))


class _Changes:
    """The rows that a batch touches, each written once however many facts it got."""

    def __init__(self, runs: dict[str, Run]) -> None:
        self._runs = runs
        self._history: dict[str, list[FoldedFact]] = {}
        self._payloads: dict[str, bytes] = {}

    def request(self, event: RunRequested) -> None:
        """A request may come again, from a client's retry or out of its parking: the run is there already."""
        if event.request_id not in self._runs:
            self._runs[event.request_id] = begin(event)
            self._history[event.request_id] = []
            if payload := bytes(event.payload):
                self._payloads[event.request_id] = payload

    def fact(self, record: Record, event: Event) -> bool:
        """False where there is no such run, or what lies there is no fact of one."""
        run = self._runs.get(event.request_id)
        if run is None or not isinstance(event, Fact):
            return False
        offset = record.position.offset
        if offset > run.position:
            self._runs[run.id] = fold(run, event, offset)
            self._history.setdefault(run.id, []).append(
                FoldedFact(offset, record.headers["ce_id"], record.value)
            )
        return True

    def folded(self) -> list[Folded]:
        return [
            Folded(self._runs[key], entries, self._payloads.get(key))
            for key, entries in self._history.items()
        ]
