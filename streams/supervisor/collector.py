"""The collector: removes the Jobs of ended runs, evidence first, and carries a cancel to the children."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from nexus.backoff import retry
from nexus.domain.errors import Refused, Unavailable
from nexus.domain.events import (
    REPORTED,
    CollectedBy,
    DeletionPolicy,
    EvidenceRecorded,
    JobCollected,
    JobCreated,
    TerminalFact,
    evidence_in,
)
from nexus.domain.observed import JobView
from nexus.domain.placement import cancelled_with
from nexus.domain.run import Run, Stage
from nexus.ports import Cluster, Partition
from streams.context import Context
from streams.folded import rows_beyond
from streams.processor import Delivery
from streams.supervisor.children import children, keeps_its_parent
from streams.supervisor.evidence import gather

__all__ = ["Collector"]

_log = structlog.get_logger(__name__)

_PAGE = 500


class Collector:
    """Acts on the facts that end a run, or that show a Job of an ended one; `sweep` finds what is left over.

    An algorithm that has reported may take `linger` to exit by itself; every other Job is deleted at once. `removed`
    are the clusters that are gone for good, with their Jobs.
    """

    def __init__(
        self,
        context: Context,
        clusters: Mapping[str, Cluster],
        linger: timedelta,
        removed: Collection[str] = (),
    ) -> None:
        self._clusters = clusters
        self._store = context.store
        self._journal = context.journal
        self._clock = context.clock
        self._linger = linger
        self._removed = frozenset(removed)
        self._stayed = 0

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """Take any partitions: whoever gets an end can collect."""

    async def process(self, batch: Sequence[Delivery]) -> None:
        events = await self._journal.read((delivery.record for delivery in batch), self._clock())
        of_interest = [record for record, event in events if isinstance(event, TerminalFact | JobCreated)]
        runs = await rows_beyond(self._store, of_interest)
        await self._collect_all([run for run in runs.values() if run.ended])
        for delivery in batch:
            delivery.ack()

    async def caught_up(self, until: datetime) -> None:
        """Nothing waits here."""

    async def sweep(self, interval: timedelta) -> None:
        """Collect, until cancelled, the ended runs whose Job is still there."""
        while True:
            await asyncio.sleep(interval.total_seconds())
            left_over = await retry(self._left_over)
            self._stayed = await retry(partial(self._collect_all, left_over))

    async def _left_over(self) -> list[Run]:
        # Those that had to stay are the longest ended: what may go lies behind them.
        return await self._store.uncollected(self._clock(), _PAGE + self._stayed)

    async def _collect_all(self, runs: Sequence[Run]) -> int:
        """How many of them have a Job that had to stay."""
        collected = await asyncio.gather(*(self._collect(run) for run in runs))
        return collected.count(False)

    async def _collect(self, run: Run) -> bool:
        if run.stage is Stage.CANCELLED and run.cancellation_policy != DeletionPolicy.ORPHAN:
            await self._cancel_children(run)
        if not run.has_job:
            return True
        cluster = self._clusters.get(run.request.cluster)
        if cluster is None and run.request.cluster in self._removed:
            await self._append_collected(run, by=CollectedBy.OTHER)
            return True
        try:
            return cluster is not None and await self._remove_job(run, cluster)
        except (Refused, Unavailable) as error:
            # One cluster that is away holds up nobody else: the sweep comes back to it.
            _log.warning("collection_waits", run=run.id, cluster=run.request.cluster, problem=str(error))
            return False

    async def _remove_job(self, run: Run, cluster: Cluster) -> bool:
        if await cluster.identity() != run.cluster_id:
            return False  # blind: this is not the cluster that has the Job
        job = await cluster.get(run.id)
        if job is None or job.metadata.uid != run.job_uid:
            await self._append_collected(run, by=CollectedBy.OTHER)
            return True
        if not await self._may_go(run, job):
            return False
        await self._record_evidence(run, cluster)
        policy = DeletionPolicy(run.cancellation_policy or DeletionPolicy.BACKGROUND)
        await cluster.delete(run.id, run.job_uid, policy)
        await self._append_collected(run, by=CollectedBy.NEXUS)
        return True

    async def _may_go(self, run: Run, job: JobView) -> bool:
        """Whether the Job may be deleted: not while the algorithm lingers, nor while children have Jobs that it owns."""
        if run.cancellation_policy == DeletionPolicy.ORPHAN:
            return True
        if any(keeps_its_parent(child, run) for child in await children(self._store, run.id)):
            return False
        if run.stage is Stage.CANCELLED:
            return True
        assert run.ended_at is not None
        reported = run.stage is Stage.COMPLETED or (run.diagnosis and run.diagnosis.category == REPORTED)
        return job.ended or not reported or self._clock() >= run.ended_at + self._linger

    async def _cancel_children(self, run: Run) -> None:
        living = [child for child in await children(self._store, run.id) if not child.ended]
        await self._journal.append(cancelled_with(child, run, self._clock()) for child in living)

    async def _record_evidence(self, run: Run, cluster: Cluster) -> None:
        """A failure that was diagnosed brought its evidence, unless the cluster was away just then; a completed run needs
        none.
        """
        if run.stage is Stage.COMPLETED:
            return
        history = await self._store.history(run.id)
        known = (evidence_in(entry.event) for entry in history)
        if any(evidence and (evidence.events or evidence.log_tail) for evidence in known):
            return
        evidence = await gather(cluster, run.id, await cluster.pods(run.id))
        await self._journal.append(
            [
                EvidenceRecorded(
                    request_id=run.id, algorithm=run.request.algorithm, at=self._clock(), evidence=evidence
                )
            ]
        )

    async def _append_collected(self, run: Run, *, by: CollectedBy) -> None:
        fact = JobCollected(
            request_id=run.id,
            algorithm=run.request.algorithm,
            at=self._clock(),
            job_uid=run.job_uid,
            by=by,
        )
        await self._journal.append([fact])
