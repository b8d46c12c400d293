"""The supervisor: turns what watchers saw into facts of runs, at most one for each change that matters."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from nexus.domain.diagnosis import diagnose, silent, vanished
from nexus.domain.events import EvidenceRecorded, Fact, JobCreated, RunObserved, RunStarted, evidence_in
from nexus.domain.job import made_for
from nexus.domain.run import Run
from nexus.ports import Cluster, Partition
from streams.context import Context
from streams.processor import Delivery
from streams.supervisor.evidence import gather
from streams.supervisor.presence import has_vanished
from streams.watermark import passed

__all__ = ["Supervisor"]


class Supervisor:
    """Stateless: an observation and the run's row decide. The first terminal fact wins, so a late fact changes nothing.

    Where `served` names clusters, what others show is for their own supervisors to judge.
    """

    def __init__(
        self, context: Context, clusters: Mapping[str, Cluster], served: Collection[str] = ()
    ) -> None:
        self._served = frozenset(served)
        self._clusters = clusters
        self._store = context.store
        self._journal = context.journal
        self._clock = context.clock

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """Whoever gets an observation can judge it."""

    async def process(self, batch: Sequence[Delivery]) -> None:
        events = await self._journal.read((delivery.record for delivery in batch), self._clock())
        observed: dict[str, list[RunObserved]] = {}
        for _, event in events:
            if isinstance(event, RunObserved) and (not self._served or event.cluster in self._served):
                observed.setdefault(event.request_id, []).append(event)
        runs = await self._store.get_many(list(observed))
        facts = await asyncio.gather(
            *(self._judge(run, seen) for run in runs.values() if (seen := _latest(observed[run.id], run)))
        )
        await self._journal.append(fact for some in facts for fact in some)
        for delivery in batch:
            delivery.ack()

    async def caught_up(self, until: datetime) -> None:
        """Nothing waits here."""

    async def _judge(self, run: Run, seen: RunObserved) -> list[Fact]:
        facts = list(_progress(run, seen, self._clock()))
        if not run.ended and (said := await self._last_words(run, seen)):
            facts.append(said)
        if run.ended or not _shows_end(seen):
            return facts
        # An algorithm reports before it exits, and a cancel is written before it deletes: what was said until now
        # must be in the row before silence means anything.
        await passed(self._store, self._clock())
        now_known = await self._store.get(run.id)
        if now_known is None or now_known.ended or not _concerns(seen, now_known):
            return facts
        end = await self._end(now_known, seen)
        return [*facts, end] if end else facts

    async def _end(self, run: Run, seen: RunObserved) -> Fact | None:
        cluster = self._clusters.get(seen.cluster)
        if cluster and seen.job and seen.job.ended:
            evidence = await gather(cluster, run.id, seen.pods)
            if seen.job.condition("Complete"):
                return silent(run, evidence, self._clock())
            return diagnose(run, seen, evidence, self._clock())
        uid = seen.job.metadata.uid if seen.job else run.job_uid
        if not await has_vanished(cluster, seen.cluster_id, run.id, uid):
            return None  # where it could not be asked, the reconciler will
        assert cluster
        return vanished(run, await gather(cluster, run.id, seen.pods), self._clock())

    async def _last_words(self, run: Run, seen: RunObserved) -> Fact | None:
        """Read the log of a pod that a deadline or an eviction deletes, before the log is deleted with it.

        Not that of a pod on a lost node: who asks for it waits for half a minute, and in vain.
        """
        leaving = [pod for pod in seen.pods if pod.leaving and pod.started_at and not pod.lost]
        cluster = self._clusters.get(seen.cluster)
        if not leaving or cluster is None:
            return None
        history = await self._store.history(run.id)
        known = {evidence.log_of for entry in history if (evidence := evidence_in(entry.event))}
        if leaving[-1].metadata.name in known:
            return None
        evidence = await gather(cluster, run.id, leaving[-1:])
        if not evidence.log_tail:
            return None
        return EvidenceRecorded(
            request_id=run.id, algorithm=run.request.algorithm, at=self._clock(), evidence=evidence
        )


def _latest(observed: Sequence[RunObserved], run: Run) -> RunObserved | None:
    """Each says all that its watcher knows, so of several the last is enough; but a watcher that was replaced may be
    heard after its successor, and what it last saw does not undo an end.
    """
    concerning = [seen for seen in observed if _concerns(seen, run)]
    ends = [seen for seen in concerning if _shows_end(seen)]
    telling = ends or concerning
    return telling[-1] if telling else None


def _shows_end(seen: RunObserved) -> bool:
    return seen.gone or (seen.job is not None and seen.job.ended)


def _concerns(seen: RunObserved, run: Run) -> bool:
    """Whether it is about this run: another cluster or another Job may have got the name of the run's own."""
    if seen.cluster != run.request.cluster or run.cluster_id not in {"", seen.cluster_id}:
        return False
    job = seen.job
    return job is None or (made_for(job, run.request) and run.job_uid in {"", job.metadata.uid})


def _progress(run: Run, seen: RunObserved, now: datetime) -> list[Fact]:
    """What happened on the way: a Job that the scheduler did not live to report, and the first start."""
    facts: list[Fact] = []
    job = seen.job
    if job and not run.job_uid:
        facts.append(
            JobCreated(
                request_id=run.id,
                algorithm=run.request.algorithm,
                at=now,
                job_uid=job.metadata.uid,
                cluster=seen.cluster,
                cluster_id=seen.cluster_id,
            )
        )
    started = [(pod.started_at, pod.metadata.name) for pod in seen.pods if pod.started_at]
    if started and run.started_at is None:
        at, pod = min(started)
        facts.append(
            RunStarted(request_id=run.id, algorithm=run.request.algorithm, at=now, started_at=at, pod=pod)
        )
    return facts
