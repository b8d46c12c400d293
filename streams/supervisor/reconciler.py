"""The reconciler: finds runs that stay too long in a stage, and decides (law 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from nexus.backoff import retry
from nexus.domain.blindness import Heard, given_up, given_up_at, last_heard, removed
from nexus.domain.errors import Unavailable
from nexus.domain.events import Event, JobCreated, RunRequeued
from nexus.domain.job import made_for
from nexus.domain.placement import timed_out
from nexus.domain.run import Run
from nexus.ports import Cluster
from streams.context import Context
from streams.supervisor.oversight import Oversight

__all__ = ["Patience", "Reconciler"]

_log = structlog.get_logger(__name__)

_PAGE = 1000


class Patience:
    """How long what is waited for: `vanished` after the last fact of a run whose Job is not there, `blind` beyond the
    deadline of a run whose cluster is not heard. What ran on the clusters `removed` is not waited for. A cluster that another
    supervisor has heard in the last `elsewhere` is left to that one.
    """

    def __init__(
        self,
        vanished: timedelta,
        blind: timedelta,
        removed: Collection[str] = (),
        elsewhere: timedelta = timedelta(seconds=30),
    ) -> None:
        self.vanished = vanished
        self.blind = blind
        self.removed = frozenset(removed)
        self.elsewhere = elsewhere


class Reconciler:
    """Decides only beyond the watermark, and declares a Job vanished only where its own cluster answers so."""

    def __init__(
        self,
        context: Context,
        clusters: Mapping[str, Cluster],
        oversight: Oversight,
        patience: Patience,
    ) -> None:
        self._clusters = clusters
        self._oversight = oversight
        self._store = context.store
        self._journal = context.journal
        self._clock = context.clock
        self._patience = patience
        self._looked_until = ""

    async def run(self, interval: timedelta) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(interval.total_seconds())
            await retry(self.look)

    async def look(self) -> None:
        """Decide once about everything that is due."""
        here = await self._listen()
        heard = await self._store.heard()
        watermark = await self._store.watermark()
        if watermark is None:
            return
        now = self._clock()
        # A run whose row is behind may have moved on: the ledger has folded everything before the watermark.
        queued = await self._store.due(min(now, watermark), _PAGE)
        decided = await asyncio.gather(*(self._queued(run, now, here, heard) for run in queued))
        await self._journal.append(event for events in decided for event in events)
        placed = await self._store.running(watermark - self._patience.vanished, _PAGE, self._looked_until)
        # One page at a time, round and round: thousands of Jobs that run for days are looked at all the same.
        self._looked_until = placed[-1].id if len(placed) == _PAGE else ""
        decided_on = await asyncio.gather(
            *(
                self._oversight.look(run, watermark, now)
                if here.get(run.request.cluster) == run.cluster_id
                else self._unheard(run, now, heard)
                for run in placed
            )
        )
        await self._journal.append(event for event in decided_on if event)

    async def _listen(self) -> Mapping[str, str]:
        """Ask every cluster for its identity, and note which answered; answers the identities by name."""
        asked = await asyncio.gather(*(_identity(cluster) for cluster in self._clusters.values()))
        now = self._clock()
        here = {name: identity for name, identity in zip(self._clusters, asked, strict=True) if identity}
        await self._store.hear([Heard(name, identity, now) for name, identity in here.items()])
        return here

    async def _queued(
        self, run: Run, now: datetime, here: Mapping[str, str], heard: Sequence[Heard]
    ) -> list[Event]:
        name = run.request.cluster
        if name not in self._clusters and self._heard_elsewhere(name, now, heard):
            return []
        if now >= run.request.placement_deadline:
            if created := await self._created_unheard(run, now, here):
                return [created]
            silence = (
                f"the cluster {name} has not been heard since {last_heard(run, heard):%Y-%m-%d %H:%M:%S}Z"
            )
            return [timed_out(run, now, run.deferred_because or ("" if name in here else silence))]
        if run.deferred_until and now >= run.deferred_until:
            # The same request again; its payload, where it was inline, is in the projections already.
            again = RunRequeued(
                request_id=run.id, algorithm=run.request.algorithm, at=now, attempt=run.deferrals
            )
            return [run.request, again]
        return []

    def _heard_elsewhere(self, cluster: str, now: datetime, heard: Sequence[Heard]) -> bool:
        """Its own supervisor can ask it for a Job that was made and not heard of."""
        return any(each.cluster == cluster and now - each.at < self._patience.elsewhere for each in heard)

    async def _created_unheard(self, run: Run, now: datetime, here: Mapping[str, str]) -> Event | None:
        """Find a Job that was created although the answer was lost, and that no watcher has shown yet."""
        name = run.request.cluster
        if name not in here or run.request.dry_run:
            return None
        try:
            job = await self._clusters[name].get(run.id)
        except Unavailable as error:
            _log.warning("job_not_looked_for", run=run.id, cluster=name, problem=str(error))
            return None
        if job is None or job.metadata.deletion_timestamp or not made_for(job, run.request):
            return None
        return JobCreated(
            request_id=run.id,
            algorithm=run.request.algorithm,
            at=now,
            job_uid=job.metadata.uid,
            cluster=name,
            cluster_id=here[name],
        )

    async def _unheard(self, run: Run, now: datetime, heard: Sequence[Heard]) -> Event | None:
        """Decide about a run whose cluster is unreachable: that alone ends nothing."""
        if run.request.cluster in self._patience.removed:
            return removed(run, now)
        last = last_heard(run, heard)
        return given_up(run, last, now) if now >= given_up_at(run, last, self._patience.blind) else None


async def _identity(cluster: Cluster) -> str:
    """Empty where it does not answer."""
    try:
        return await cluster.identity()
    except Unavailable as error:
        _log.warning("cluster_not_heard", cluster=cluster.name, problem=str(error))
        return ""
