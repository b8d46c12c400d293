"""The reconciler: looks at runs that stay too long in a stage, and decides (law 6)."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from nexus.domain.events import Event, RunRequeued
from nexus.domain.placement import timed_out
from nexus.domain.run import Run
from nexus.journal import Journal
from nexus.ports import RunStore
from streams.oversight import Oversight
from streams.processor import Clock
from streams.retry import retry

__all__ = ["Reconciler"]

_PAGE = 1000


class Reconciler:
    """Decides only beyond the watermark, and declares a Job vanished only when its own cluster says so."""

    def __init__(
        self,
        oversight: Oversight,
        store: RunStore,
        journal: Journal,
        clock: Clock,
        grace: timedelta,
    ) -> None:
        self._oversight = oversight
        self._store = store
        self._journal = journal
        self._clock = clock
        self._grace = grace
        self._looked_until = ""

    async def run(self, interval: timedelta) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(interval.total_seconds())
            await retry(self.look)

    async def look(self) -> None:
        """One look at everything that is due."""
        watermark = await self._store.watermark()
        if watermark is None:
            return
        now = self._clock()
        # A run whose row is behind may have moved on: the ledger has folded everything before the watermark.
        queued = await self._store.due(min(now, watermark), _PAGE)
        await self._journal.append(event for run in queued for event in _queued(run, now))
        placed = await self._store.running(watermark - self._grace, _PAGE, self._looked_until)
        # One page at a time, round and round: thousands of Jobs that run for days are looked at all the same.
        self._looked_until = placed[-1].id if len(placed) == _PAGE else ""
        verdicts = await asyncio.gather(*(self._oversight.look(run, watermark, now) for run in placed))
        await self._journal.append(event for event in verdicts if event)


def _queued(run: Run, now: datetime) -> list[Event]:
    if now >= run.request.placement_deadline:
        return [timed_out(run, now)]
    if run.deferred_until and now >= run.deferred_until:
        # The same request again; its payload, where it was inline, is in the projections already.
        again = RunRequeued(request_id=run.id, algorithm=run.request.algorithm, at=now, attempt=run.deferrals)
        return [run.request, again]
    return []
