"""The adapter: the port `Cluster` on a folder, a launcher and as many owners as there are slots."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from nexus import __version__
from nexus.domain.errors import OutcomeUnknown, Unavailable
from nexus.domain.events import DeletionPolicy
from nexus.domain.job import encoded
from nexus.domain.observed import JobView, PodView
from nexus.embedded.cluster import custody, logs
from nexus.embedded.cluster.events import events
from nexus.embedded.cluster.job_table import Manifests, Stored
from nexus.embedded.cluster.known_job import KnownJob
from nexus.embedded.cluster.local_job import parse
from nexus.embedded.cluster.scheduling import Scheduling
from nexus.embedded.cluster.status import stamp
from nexus.embedded.cluster.watchers import Watchers
from nexus.embedded.cluster.work_order import Order
from nexus.embedded.private import make_folder
from nexus.ports import Change, Created, Listed

__all__ = ["LocalCluster"]


class LocalCluster:
    """Jobs run as local processes, at most `slots` at a time, and go on without this process.

    `directory_of` gives the folder that an algorithm's command runs in; `environment` is put into every Job's.
    `retry_delay` (seconds) is the first back-off, `grace` (seconds) what a command has between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        root: Path,
        *,
        name: str = "standalone",
        slots: int,
        directory_of: Callable[[str], Path | None],
        environment: Mapping[str, str],
        retry_delay: float = 0.1,
        grace: float = 2.0,
    ) -> None:
        self.name = name
        self._root = root.absolute()
        self._directory_of = directory_of
        self._environment = dict(environment)
        self._retry_delay = retry_delay
        self._grace = grace
        self._slots = slots
        self._versions = itertools.count(time.time_ns())  # rises over restarts too
        self._records: dict[str, KnownJob] = {}
        self._owned: dict[str, set[str]] = {}
        self._making: dict[str, asyncio.Task[JobView]] = {}
        self._watchers = Watchers()
        self._background: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take up every Job where it stands. Raises Unavailable when no process can be started."""
        jobs = self._root / "jobs"
        make_folder(self._root)
        make_folder(jobs)
        self._manifests = Manifests(self._root / "manifests.db")
        self._identity = self._manifests.identity()
        self._scheduling = Scheduling(self._root, self._slots, self._order, self._watchers.publish)
        for stored in self._manifests.stored():
            self._remember(KnownJob(stored, parse(stored.job), self._versions))
        known = {record.uid for record in self._records.values()}
        deleted = [folder for folder in jobs.iterdir() if folder.name not in known]
        await asyncio.gather(*(custody.remove(folder, folder.name) for folder in deleted))
        await self._scheduling.start()
        for record in tuple(self._records.values()):
            self._scheduling.restore(record)
        self._scheduling.fill()
        await self._collect(tuple(self._records.values()))

    async def stop(self) -> None:
        """Running Jobs go on; those that wait for a slot wait for the next `start`."""
        removals = [record.removal for record in self._records.values() if record.removal]
        await asyncio.gather(*self._background, *removals, return_exceptions=True)
        await self._scheduling.stop()
        self._watchers.end()
        self._manifests.close()

    async def identity(self) -> str:
        return self._identity

    async def create(self, job: Mapping[str, Any]) -> Created:
        manifest = parse(job)
        encoded(job)
        name = manifest.metadata.name
        if (found := self._records.get(name)) is not None:
            return Created(found.job, fresh=False)
        making = self._making.get(name)
        fresh = making is None
        if making is None:
            stored = Stored(uid=str(uuid.uuid4()), created=stamp(), job=dict(job))
            record = KnownJob(stored, manifest, self._versions)
            making = self._making[name] = asyncio.create_task(self._make(record))
        return Created(await asyncio.shield(making), fresh=fresh)

    async def judge(self, job: Mapping[str, Any]) -> None:
        parse(job)
        encoded(job)

    async def version(self) -> str:
        return __version__

    async def get(self, name: str) -> JobView | None:
        record = self._refreshed(name)
        return record.job if record else None

    async def pods(self, job: str) -> Sequence[PodView]:
        record = self._refreshed(job)
        return record.pods if record else ()

    async def events(self, job: str) -> Sequence[str]:
        record = self._refreshed(job)
        return tuple(events(record.job, record.pods)) if record else ()

    async def log_tail(self, pod: str, limit: int) -> str:
        job = pod.rpartition("-")[0]
        if all(pod != known.metadata.name for known in await self.pods(job)):
            return ""
        return await asyncio.to_thread(
            logs.tail, str(self._scheduling.folder(self._records[job]) / f"{pod}.log"), limit
        )

    async def delete(self, name: str, uid: str, policy: DeletionPolicy) -> bool:
        """Returns when the processes are dead and, unless orphaned, the Jobs that it owned are gone too."""
        record = self._records.get(name)
        if record is None or record.uid != uid:
            return False
        if policy == DeletionPolicy.ORPHAN:
            for child in self._children(record):
                await self._disown(child, uid)
        await self._remove(record)
        return True

    async def watch(self) -> AsyncGenerator[Listed | Change]:
        queue = self._watchers.join()
        try:
            records = self._records.values()
            yield Listed(
                jobs=tuple(record.job for record in records),
                pods=tuple(pod for record in records for pod in record.pods),
            )
            while (change := await queue.get()) is not None:
                yield change
        finally:
            self._watchers.leave(queue)

    def _refreshed(self, name: str) -> KnownJob | None:
        record = self._records.get(name)
        if record is not None:
            self._scheduling.refresh(record)
        return record

    async def _make(self, record: KnownJob) -> JobView:
        try:
            await self._manifests.put(record.stored)
        finally:
            del self._making[record.name]
        self._remember(record)
        self._scheduling.add(record)
        if self._lost_its_parent(record):
            self._spawn(self._collect([record]))
        return record.job

    def _remember(self, record: KnownJob) -> None:
        self._records[record.name] = record
        for owner in record.owners:
            self._owned.setdefault(owner, set()).add(record.name)

    def _children(self, record: KnownJob) -> list[KnownJob]:
        names = self._owned.get(record.uid, ())
        return [child for name in names if (child := self._records.get(name)) and record.uid in child.owners]

    def _lost_its_parent(self, record: KnownJob) -> bool:
        """Whether it was to go with other Jobs, and none of them is left."""
        alive = (
            {other.uid for other in self._records.values() if not other.removal} if record.owners else set()
        )
        return bool(record.owners) and not record.owners & alive

    async def _collect(self, records: Iterable[KnownJob]) -> None:
        """Kubernetes' garbage collection, also of what an interrupted one left."""
        await asyncio.gather(*(self._remove(record) for record in records if self._lost_its_parent(record)))

    async def _disown(self, record: KnownJob, owner: str) -> None:
        metadata = dict(record.stored.job["metadata"])
        metadata["ownerReferences"] = [r for r in metadata["ownerReferences"] if r.get("uid") != owner]
        stored = msgspec.structs.replace(record.stored, job=record.stored.job | {"metadata": metadata})
        await self._manifests.put(stored)
        self._watchers.publish(record.replace(stored))

    async def _remove(self, record: KnownJob) -> None:
        if record.removal is None:
            record.removal = asyncio.create_task(self._end(record))
        await asyncio.shield(record.removal)

    async def _end(self, record: KnownJob) -> None:
        folder = self._scheduling.folder(record)
        try:
            await self._manifests.delete(record.uid)
            self._scheduling.forget(record)
            self._watchers.publish(record.terminate(datetime.now(UTC)))
            await custody.remove(folder, record.uid)
        except Unavailable:
            record.removal = None
            raise
        except OSError as error:
            record.removal = None
            raise OutcomeUnknown(
                f"{folder} cannot be removed ({error}): the next start tries again"
            ) from error
        del self._records[record.name]
        self._watchers.publish(record.gone())
        await self._collect(self._children(record))
        self._owned.pop(record.uid, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _order(self, record: KnownJob) -> Order:
        job, container = record.manifest, record.manifest.container
        directory = self._directory_of(record.algorithm)
        template = job.spec.template.metadata
        return {
            "name": record.name,
            "uid": record.uid,
            "namespace": job.namespace,
            "created": record.stored.created,
            "container": container.name,
            "labels": (template and template.labels) or {},
            "annotations": (template and template.annotations) or {},
            "command": container.words,
            "environment": self._environment | container.environment,
            "unresolved": container.unresolved,
            "directory": str(directory.absolute()) if directory else "",
            "memory": container.memory,
            "backoff_limit": job.backoff_limit,
            "deadline": record.deadline.timestamp() if record.deadline else None,
            "rules": job.rules,
            "again": False,
            "retry_delay": self._retry_delay,
            "grace": self._grace,
        }
