"""Oversight: checks placed runs that had no new event for a while, by asking their cluster (law 6).

A stalled run is shown as such, and ends once one thing has stalled it for longer than the grace of that thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from nexus.domain.diagnosis import (
    diagnose,
    give_up,
    silent,
    stall,
    tells_all,
    vanished,
)
from nexus.domain.errors import Unavailable
from nexus.domain.events import Diagnosis, Event, RunObserved, RunResumed, RunStalled
from nexus.domain.observed import JobView
from nexus.domain.run import Run
from nexus.ports import Cluster
from streams.supervisor.evidence import gather

__all__ = ["Oversight"]

_log = structlog.get_logger(__name__)

_AT_ONCE = 16
"""Runs that the clusters are asked about at a time."""


class Oversight:
    """`graces` is how long a run may hang, by the name of the rule's grace; `grace` how old an end must be before it
    counts as missed by the supervisor.
    """

    def __init__(
        self, clusters: Mapping[str, Cluster], graces: Mapping[str, timedelta], grace: timedelta
    ) -> None:
        self._clusters = clusters
        self._graces = graces
        self._grace = grace
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def check(self, run: Run, watermark: datetime, now: datetime) -> Event | None:
        """Decide what to append about a run that was read from the projections at the watermark, or later.

        None where its cluster is unreachable, or is not the one that it was placed on: unreachable is not dead.
        """
        cluster = self._clusters.get(run.request.cluster)
        if cluster is None:
            return None
        async with self._free:
            try:
                if await cluster.identity() != run.cluster_id:
                    return None
                return await self._ask(run, cluster, watermark, now)
            except Unavailable as error:
                _log.warning("cluster_unreachable", cluster=cluster.name, run=run.id, problem=str(error))
                return None

    async def _ask(self, run: Run, cluster: Cluster, watermark: datetime, now: datetime) -> Event | None:
        job = await cluster.get(run.id)
        if job is None or job.metadata.uid != run.job_uid:
            return vanished(run, await gather(cluster, run.id, ()), now)
        if job.ended:
            return await self._missed(run, job, cluster, watermark, now)
        return await self._hanging(run, job, cluster, now)

    async def _missed(
        self, run: Run, job: JobView, cluster: Cluster, watermark: datetime, now: datetime
    ) -> Event | None:
        """Diagnose a Job's end that no supervisor has, once everything from before it is in the projections."""
        if job.ended_at is None or job.ended_at + self._grace > watermark:
            return None
        pods = await cluster.pods(run.id)
        evidence = await gather(cluster, run.id, pods)
        if job.condition("Complete"):
            return silent(run, evidence, now)
        seen = RunObserved(
            request_id=run.id,
            algorithm=run.request.algorithm,
            at=now,
            cluster=cluster.name,
            cluster_id=run.cluster_id,
            job=job,
            pods=tuple(pods),
        )
        return diagnose(run, seen, evidence, now)

    async def _hanging(self, run: Run, job: JobView, cluster: Cluster, now: datetime) -> Event | None:
        found = None
        if not job.runs:
            pods = await cluster.pods(run.id)
            events = () if tells_all(pods) else await cluster.events(run.id)
            found = stall(run, job, pods, events)
        if found is None:
            return _resumed(run, now)
        since = _since(run, found.diagnosis)
        if since is None:
            return _stalled(run, found.diagnosis, now)
        if now - since < self._graces[found.grace]:
            return None
        return give_up(run, job, pods, await gather(cluster, run.id, pods), now)


def _since(run: Run, diagnosis: Diagnosis) -> datetime | None:
    """Tell since when the run is known to be stalled by just this."""
    same = run.stalled is not None and run.stalled.category == diagnosis.category
    return run.stalled_since if same else None


def _stalled(run: Run, diagnosis: Diagnosis, now: datetime) -> RunStalled:
    return RunStalled(request_id=run.id, algorithm=run.request.algorithm, at=now, diagnosis=diagnosis)


def _resumed(run: Run, now: datetime) -> RunResumed | None:
    return RunResumed(request_id=run.id, algorithm=run.request.algorithm, at=now) if run.stalled else None
