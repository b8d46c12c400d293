"""The sweeper: deletes what the collector never learns of, Jobs without a run and payloads past their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from nexus.backoff import retry
from nexus.domain.errors import Refused, Unavailable
from nexus.domain.events import DeletionPolicy, JobCreated, OrphanCollected, PayloadCollected
from nexus.domain.garbage import Garbage, Keeping, is_unreported, owner_of, why_job_goes, why_payload_goes
from nexus.domain.ids import issued_at
from nexus.domain.job import ALGORITHM
from nexus.domain.observed import JobView
from nexus.domain.run import Run
from nexus.ports import Cluster, Listed, PayloadStore, StoredPayload
from nexus.views import GarbageReport
from streams.context import Context
from streams.supervisor.evidence import gather

__all__ = ["Sweeper"]

_log = structlog.get_logger(__name__)

_PAGE = 500
_NONE = timedelta(0)
_BEYOND = "/~"
"""After every key of an algorithm."""


class _Jobs(NamedTuple):
    """What to delete on a cluster, and the Jobs whose `JobCreated` nobody lived to append."""

    garbage: list[Garbage]
    unreported: list[tuple[Run, JobView]]


class Sweeper:
    """Starts from the clusters and the payload store, where all others start from the rows.

    Decides only beyond the watermark. Appends what it deletes, before and after.
    """

    def __init__(
        self,
        context: Context,
        clusters: Mapping[str, Cluster],
        payloads: PayloadStore,
        installation: str,
        keeping: Keeping,
    ) -> None:
        self._clusters = clusters
        self._store = context.store
        self._payloads = payloads
        self._journal = context.journal
        self._clock = context.clock
        self._installation = installation
        self._keeping = keeping

    async def run(self, interval: timedelta) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(interval.total_seconds())
            await retry(self.sweep)

    async def sweep(self) -> None:
        """Delete everything that is due; an unreachable cluster keeps its Jobs until the next sweep."""
        for cluster in [*self._clusters.values()]:
            try:
                await self._sweep_jobs(cluster)
            except (Refused, Unavailable) as error:
                _log.warning("sweep_waits", cluster=cluster.name, problem=str(error))
        async for page in self._found_payloads():
            await self._remove_payloads(page)

    async def report(self, limit: int) -> GarbageReport:
        """List what would be deleted now, with what the collector has yet to do. Deletes nothing."""
        found = [
            _job_of(run.id, run.request.algorithm, run.request.cluster, run.job_uid, run.sent_at)
            for run in await self._store.uncollected(self._clock(), limit)
        ]
        unreachable = []
        for cluster in [*self._clusters.values()]:
            try:
                found += (await self._found_jobs(cluster)).garbage
            except Unavailable:
                unreachable.append(cluster.name)
        async for page in self._found_payloads():
            found += page
            if len(found) > limit:
                break
        return GarbageReport(found[:limit], sorted(unreachable), more=len(found) > limit)

    async def _sweep_jobs(self, cluster: Cluster) -> None:
        identity = await cluster.identity()
        found = await self._found_jobs(cluster)
        await self._journal.append(
            JobCreated(
                request_id=run.id,
                algorithm=run.request.algorithm,
                at=self._clock(),
                job_uid=job.metadata.uid,
                cluster=cluster.name,
                cluster_id=identity,
            )
            for run, job in found.unreported
        )
        for garbage in found.garbage:
            said = OrphanCollected(
                request_id=garbage.request_id,
                algorithm=garbage.algorithm,
                at=self._clock(),
                job_uid=garbage.uid,
                cluster=cluster.name,
                cluster_id=identity,
                because=garbage.because,
                evidence=await gather(cluster, garbage.name, await cluster.pods(garbage.name)),
            )
            await self._journal.append([said])
            await cluster.delete(garbage.name, garbage.uid, DeletionPolicy.BACKGROUND)
            await self._journal.append([replace(said, at=self._clock(), confirmed=True, evidence=None)])

    async def _found_jobs(self, cluster: Cluster) -> _Jobs:
        """The list comes first: a Job that is in it had its row before it was made (law 9)."""
        jobs = await _jobs(cluster)
        until = await self._store.watermark()
        found = _Jobs([], [])
        for start in range(0, len(jobs) if until else 0, _PAGE):
            page = jobs[start : start + _PAGE]
            runs = await self._store.get_many([job.metadata.name for job in page])
            for job in page:
                self._judge(job, runs.get(job.metadata.name), cluster.name, until, found)
        return found

    def _judge(
        self, job: JobView, run: Run | None, cluster: str, until: datetime | None, found: _Jobs
    ) -> None:
        if run and is_unreported(job, run, cluster, self._installation):
            found.unreported.append((run, job))
            return
        metadata, grace = job.metadata, self._keeping.job_grace
        if until and (because := why_job_goes(job, run, self._installation, until, grace)):
            algorithm = metadata.labels.get(ALGORITHM, "")
            garbage = _job_of(metadata.name, algorithm, cluster, metadata.uid, metadata.creation_timestamp)
            found.garbage.append(replace(garbage, because=because))
        elif until and why_job_goes(job, run, self._installation, until, _NONE):
            _log.warning("job_without_run", cluster=cluster, job=metadata.name, goes_after=str(grace))

    async def _found_payloads(self) -> AsyncIterator[list[Garbage]]:
        """Within an algorithm the keys are in the order of their ids, and so of time: what follows a young one is younger."""
        until, after = await self._store.watermark(), ""
        while until and (page := await self._payloads.stored(after, _PAGE)):
            yield await self._judged(page, until)
            after = page[-1].key
            owner = owner_of(after)
            issued = issued_at(owner.request_id) if owner else None
            if issued and issued + self._keeping.shortest > until:
                after = after.partition("/")[0] + _BEYOND

    async def _judged(self, page: Sequence[StoredPayload], until: datetime) -> list[Garbage]:
        owned = [(stored, owner) for stored in page if (owner := owner_of(stored.key))]
        runs = await self._store.get_many([owner.request_id for _, owner in owned])
        return [
            Garbage(
                kind="payload",
                name=stored.key,
                request_id=owner.request_id,
                algorithm=owner.algorithm,
                because=because,
                since=stored.at,
            )
            for stored, owner in owned
            if (
                because := why_payload_goes(
                    owner, stored.at, runs.get(owner.request_id), until, self._keeping
                )
            )
        ]

    async def _remove_payloads(self, page: Sequence[Garbage]) -> None:
        said = [
            PayloadCollected(
                request_id=garbage.request_id,
                algorithm=garbage.algorithm,
                at=self._clock(),
                key=garbage.name,
                because=garbage.because,
            )
            for garbage in page
        ]
        await self._journal.append(said)
        await asyncio.gather(*(self._payloads.delete(garbage.name) for garbage in page))
        await self._journal.append(replace(each, at=self._clock(), confirmed=True) for each in said)


def _job_of(name: str, algorithm: str, cluster: str, uid: str, since: datetime | None) -> Garbage:
    return Garbage(
        kind="job",
        name=name,
        request_id=name,
        algorithm=algorithm,
        because="its run has ended",
        since=since,
        cluster=cluster,
        uid=uid,
    )


async def _jobs(cluster: Cluster) -> Sequence[JobView]:
    """List every Job on the cluster that a Nexus created."""
    async with aclosing(cluster.watch()) as changes:
        async for first in changes:
            if isinstance(first, Listed):
                return first.jobs
    return ()
