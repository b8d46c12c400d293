"""The reconciler: finds runs that stay too long in a stage, and decides (law 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from nexus.backoff import retry
from nexus.domain.cordon import Cordon
from nexus.domain.errors import Unavailable
from nexus.domain.events import Event, JobCreated, RunRequeued
from nexus.domain.job import made_for
from nexus.domain.placement import timed_out
from nexus.domain.reachability import Contact, given_up, given_up_at, last_contact, removed
from nexus.domain.run import Run
from nexus.ports import Cluster
from streams.context import Context
from streams.supervisor.oversight import Oversight

__all__ = ["Limits", "Reconciler"]

_log = structlog.get_logger(__name__)

_PAGE = 1000


class Limits:
    """How long what is waited for: `check_after` after the last fact of a run whose Job is not there, `unreachable` beyond the
    deadline of a run whose cluster is not heard. What ran on the clusters `removed` is not waited for. A cluster that another
    supervisor has heard in the last `elsewhere` is left to that one.
    """

    def __init__(
        self,
        check_after: timedelta,
        unreachable: timedelta,
        removed: Collection[str] = (),
        elsewhere: timedelta = timedelta(seconds=30),
    ) -> None:
        self.check_after = check_after
        self.unreachable = unreachable
        self.removed = frozenset(removed)
        self.elsewhere = elsewhere


class Reconciler:
    """Decides only beyond the watermark, and declares a Job vanished only where its own cluster answers so."""

    def __init__(
        self,
        context: Context,
        clusters: Mapping[str, Cluster],
        oversight: Oversight,
        limits: Limits,
        cordons: Callable[[], Mapping[str, Cordon]] = dict,
    ) -> None:
        """`cordons` are those of the moment, by cluster."""
        self._cordons = cordons
        self._clusters = clusters
        self._oversight = oversight
        self._store = context.store
        self._journal = context.journal
        self._clock = context.clock
        self._limits = limits
        self._looked_until = ""

    async def run(self, interval: timedelta) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(interval.total_seconds())
            await retry(self.reconcile)

    async def reconcile(self) -> None:
        """Decide once about everything that is due."""
        here = await self._contact_clusters()
        contacts = await self._store.contacts()
        watermark = await self._store.watermark()
        if watermark is None:
            return
        now = self._clock()
        # A run whose row is behind may have moved on: the ledger has folded everything before the watermark.
        queued = await self._store.due(min(now, watermark), _PAGE)
        decided = await asyncio.gather(*(self._queued(run, now, here, contacts) for run in queued))
        await self._journal.append(event for events in decided for event in events)
        placed = await self._store.running(watermark - self._limits.check_after, _PAGE, self._looked_until)
        # One page at a time, round and round: thousands of Jobs that run for days are looked at all the same.
        self._looked_until = placed[-1].id if len(placed) == _PAGE else ""
        decided_on = await asyncio.gather(
            *(
                self._oversight.check(run, watermark, now)
                if here.get(run.request.cluster) == run.cluster_id
                else self._unreachable(run, now, contacts)
                for run in placed
            )
        )
        await self._journal.append(event for event in decided_on if event)

    async def _contact_clusters(self) -> Mapping[str, str]:
        """Ask every cluster for its identity, and note which answered; answers the identities by name."""
        clusters = dict(self._clusters)  # they come and go meanwhile
        asked = await asyncio.gather(*(_identity(cluster) for cluster in clusters.values()))
        now = self._clock()
        here = {name: identity for name, identity in zip(clusters, asked, strict=True) if identity}
        await self._store.note_contacts([Contact(name, identity, now) for name, identity in here.items()])
        return here

    async def _queued(
        self, run: Run, now: datetime, here: Mapping[str, str], contacts: Sequence[Contact]
    ) -> list[Event]:
        name = run.request.cluster
        if name not in self._clusters and self._heard_elsewhere(name, now, contacts):
            return []
        if now >= run.request.placement_deadline:
            if created := await self._unreported_job(run, now, here):
                return [created]
            silence = f"the cluster {name} has not been heard since {last_contact(run, contacts):%Y-%m-%d %H:%M:%S}Z"
            cordon = self._cordons().get(name)
            held = f"{cordon}: `nexus clusters uncordon {name}` lets it go on" if cordon else ""
            because = run.deferred_because or held or ("" if name in here else silence)
            return [timed_out(run, now, because)]
        if run.deferred_until and now >= run.deferred_until:
            # The same request again; its payload, where it was inline, is in the projections already.
            again = RunRequeued(
                request_id=run.id, algorithm=run.request.algorithm, at=now, attempt=run.deferrals
            )
            return [run.request, again]
        return []

    def _heard_elsewhere(self, cluster: str, now: datetime, contacts: Sequence[Contact]) -> bool:
        """Its own supervisor can ask it for a Job that was made and not heard of."""
        return any(each.cluster == cluster and now - each.at < self._limits.elsewhere for each in contacts)

    async def _unreported_job(self, run: Run, now: datetime, here: Mapping[str, str]) -> Event | None:
        """Find a Job that was created although the answer was lost, and that no watcher has shown yet."""
        name = run.request.cluster
        cluster = self._clusters.get(name)
        if cluster is None or name not in here or run.request.dry_run:
            return None
        try:
            job = await cluster.get(run.id)
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

    async def _unreachable(self, run: Run, now: datetime, contacts: Sequence[Contact]) -> Event | None:
        """Decide about a run whose cluster is unreachable: that alone ends nothing."""
        if run.request.cluster in self._limits.removed:
            return removed(run, now)
        last = last_contact(run, contacts)
        return given_up(run, last, now) if now >= given_up_at(run, last, self._limits.unreachable) else None


async def _identity(cluster: Cluster) -> str:
    """Empty where it does not answer."""
    try:
        return await cluster.identity()
    except Unavailable as error:
        _log.warning("cluster_unreachable", cluster=cluster.name, problem=str(error))
        return ""
