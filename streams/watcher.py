"""The watcher: publishes what a cluster shows of our runs, one observation for each change that may matter."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial

import msgspec
import structlog
from msgspec.structs import replace

from nexus.backoff import Backoff, retry
from nexus.domain.diagnosis.sight import USUAL_WAITS
from nexus.domain.errors import Unavailable
from nexus.domain.events import RunObserved
from nexus.domain.job import ALGORITHM
from nexus.domain.observed import JobView, PodView, Waiting
from nexus.journal import Journal
from nexus.ports import Change, Cluster, Listed
from streams.processor import Clock

__all__ = ["Watcher"]

_log = structlog.get_logger(__name__)

_UNKNOWN = datetime.max.replace(tzinfo=UTC)
_JOB_NAME = "batch.kubernetes.io/job-name"
_PODS = 10
"""The last of a Job that is tried again for days: an observation must fit into a record."""


class _Seen(msgspec.Struct):
    """One run as the cluster shows it. `essence` is what was last published. The last pods stay, deleted ones too."""

    algorithm: str
    job: JobView | None = None
    gone: bool = False
    pods: dict[str, PodView] = {}
    waited: Waiting | None = None
    essence: object = None

    def keep(self, pod: PodView) -> None:
        """What others wrote on it is of no use here."""
        self.pods[pod.metadata.name] = replace(pod, metadata=replace(pod.metadata, annotations={}))
        if pod.waiting and pod.waiting.reason not in USUAL_WAITS:
            self.waited = pod.waiting
        if len(self.pods) > _PODS:
            del self.pods[min(self.pods.values(), key=_age).metadata.name]


class Watcher:
    """Remembers each run for as long as its Job is there: a pod's last reason must outlive the pod."""

    def __init__(self, cluster: Cluster, journal: Journal, clock: Clock) -> None:
        self._cluster = cluster
        self._journal = journal
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled: watch, and again when the watch ends."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_changes())
            backoff = Backoff()
            while True:
                try:
                    async with aclosing(self._cluster.watch()) as changes:
                        async for change in changes:
                            self._listed(change) if isinstance(change, Listed) else self._apply(change)
                except Unavailable as error:
                    _log.warning("cluster_unreachable", cluster=self._cluster.name, problem=str(error))
                await backoff.pause()

    def _listed(self, listed: Listed) -> None:
        """Take in a list: what was known and is not in it was deleted while nobody watched."""
        there = {job.metadata.name for job in listed.jobs}
        for name, seen in [*self._seen.items()]:
            if seen.job is None:
                del self._seen[name]
            elif name not in there and not seen.gone:
                seen.gone = True
                self._mark(name)
        things: list[JobView | PodView] = [*listed.jobs, *listed.pods]
        for thing in things:
            self._apply(Change("MODIFIED", thing))

    def _apply(self, change: Change) -> None:
        thing = change.object
        is_job = isinstance(thing, JobView)
        name = thing.metadata.name if is_job else thing.metadata.labels.get(_JOB_NAME, "")
        algorithm = thing.metadata.labels.get(ALGORITHM)
        if not name or algorithm is None:
            return
        seen = self._seen.setdefault(name, _Seen(algorithm))
        if isinstance(thing, JobView):
            seen.job = thing
            seen.gone = change.kind == "DELETED"
        elif seen.job is None and change.kind == "DELETED":
            # Its Job went before it, and was reported with all that it showed.
            self._forget(name, thing)
            return
        else:
            seen.keep(thing)
        self._mark(name)

    def _forget(self, name: str, pod: PodView) -> None:
        seen = self._seen[name]
        seen.pods.pop(pod.metadata.name, None)
        if not seen.pods:
            del self._seen[name]

    def _mark(self, name: str) -> None:
        self._changed[name] = None
        self._wake.set()

    async def _publish_changes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = list(self._changed), {}
            cluster_id = await retry(self._cluster.identity)
            now = self._clock()
            observations = []
            for name in changed:
                seen = self._seen.get(name)
                if seen is None or seen.job is None:
                    continue  # a pod may be shown before its Job, or after it
                if (essence := _essence(seen)) != seen.essence:
                    seen.essence = essence
                    observations.append(self._observation(name, seen, cluster_id, now))
                if seen.gone:
                    del self._seen[name]
            await retry(partial(self._journal.append, observations))

    def _observation(self, name: str, seen: _Seen, cluster_id: str, now: datetime) -> RunObserved:
        pods = sorted(seen.pods.values(), key=_age)
        return RunObserved(
            request_id=name,
            algorithm=seen.algorithm,
            at=now,
            cluster=self._cluster.name,
            cluster_id=cluster_id,
            job=seen.job,
            gone=seen.gone,
            pods=tuple(pods),
            waited=seen.waited,
        )


def _age(pod: PodView) -> tuple[datetime, str]:
    return pod.metadata.creation_timestamp or _UNKNOWN, pod.metadata.name


def _essence(seen: _Seen) -> object:
    """What decides something: without versions, counters and times that change with every heartbeat."""
    job = seen.job
    conditions = [(c.type, c.status, c.reason) for c in job.status.conditions] if job else []
    deleting = bool(job and job.metadata.deletion_timestamp)
    pods = [
        (
            name,
            pod.status.phase,
            pod.status.reason,
            pod.leaving,
            pod.started_at is not None,
            pod.terminated is not None,
        )
        for name, pod in sorted(seen.pods.items())
    ]
    return (seen.gone, deleting, conditions, pods, seen.waited)
