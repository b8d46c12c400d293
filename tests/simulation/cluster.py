"""The port to a cluster from one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

from nexus.domain.errors import Refused, Unavailable
from nexus.domain.events import DeletionPolicy
from nexus.domain.job import REQUEST_ID
from nexus.domain.observed import JobView, PodView
from nexus.domain.run import Run
from nexus.ports import Change, Cluster, Created, Listed
from tests.simulation.chance import Chance
from tests.simulation.faults import Faults
from tests.simulation.loop import VirtualLoop, current_process
from tests.simulation.network import Network
from tests.support.cluster_model import ClusterModel

__all__ = ["Making", "SimulatedCluster", "Site", "is_a_run"]

_REFUSALS = (Refused(429, "too many requests", retry_after=1.0), Refused(500, "etcd"), Refused(403, "quota"))


def is_a_run(job: JobView) -> bool:
    return REQUEST_ID in job.metadata.annotations


class Making(NamedTuple):
    """A Job that was made: its name and uid, the row that its maker had read last, and how many seconds before."""

    name: str
    uid: str
    row: Run | None
    age: float


class Site(NamedTuple):
    """A cluster and what lies before it."""

    model: ClusterModel
    network: Network
    faults: Faults
    chance: Chance
    loop: VirtualLoop
    makings: dict[str, list[Making]]
    """For each Job that was made, by its run."""

    def end_watches(self) -> None:
        """As 410 Gone does: what changes before the next list is only in that."""
        for watch in [watch for watch in self.model.watches if isinstance(watch, asyncio.Queue)]:
            del self.model.watches[watch]
            watch.put_nowait(None)


class SimulatedCluster(Cluster):
    def __init__(self, site: Site) -> None:
        self._site = site
        self._model = site.model
        self._network = site.network
        self.name = site.model.name
        self._port = f"cluster {self.name}"

    async def identity(self) -> str:
        return await self._network.read(self._port, lambda: self._model.uid)

    async def create(self, job: Mapping[str, Any]) -> Created:
        name = job["metadata"]["name"]
        process = current_process()
        run = job["metadata"]["annotations"][REQUEST_ID]
        row, read = process.seen.get((asyncio.current_task(), run), (None, 0.0))
        age = self._site.loop.lived(process) - read

        def make() -> Created:
            refuses = self._network.is_away(f"admission of {self.name}")
            if refuses or self._site.faults.at_a_call(["refused"]):
                refusal = self._site.chance.of(_REFUSALS)
                raise Refused(refusal.status, refusal.reason, retry_after=refusal.retry_after)
            if self._site.faults.at_a_call(["squatter"]):
                self._squat(name)
            created = self._model.make(job)
            if created.fresh:
                making = Making(name, created.job.metadata.uid, row, age)
                self._site.makings.setdefault(run, []).append(making)
            return created

        return await self._network.change(self._port, f"create {name[-4:]}", make)

    def _squat(self, name: str) -> None:
        """Somebody else has a Job of that name, for a while."""
        squatter = {"metadata": {"name": name}, "spec": {"template": {"metadata": {"labels": {}}}}}
        if (created := self._model.make(squatter)).fresh:
            uid = created.job.metadata.uid
            self._network.say(self.name, f"somebody else makes a Job {name[-4:]}")
            self._site.loop.in_world(self._site.chance.between(1.0, 15.0), self._go_away, name, uid)

    def _go_away(self, name: str, uid: str) -> None:
        if (job := self._model.job(name)) and job.metadata.uid == uid:
            self._model.lose(name)

    async def judge(self, job: Mapping[str, Any]) -> None:
        """It takes every Job: what it refuses, it refuses for the moment."""
        await self._network.read(self._port, lambda: None)

    async def version(self) -> str:
        return await self._network.read(self._port, lambda: "simulated")

    async def get(self, name: str) -> JobView | None:
        return await self._network.read(self._port, lambda: self._model.job(name))

    async def pods(self, job: str) -> Sequence[PodView]:
        return await self._network.read(self._port, lambda: self._model.pods_of(job))

    async def delete(self, name: str, uid: str, policy: DeletionPolicy) -> bool:
        what = f"delete {name[-4:]} ({policy})"
        return await self._network.change(self._port, what, lambda: self._model.remove(name, uid, policy))

    async def log_tail(self, pod: str, limit: int) -> str:
        return await self._network.read(self._port, lambda: self._model.log_of(pod, limit))

    async def events(self, job: str) -> Sequence[str]:
        return await self._network.read(self._port, lambda: self._model.said_of(job))

    async def watch(self) -> AsyncGenerator[Listed | Change]:
        """Changes of Jobs and of pods travel separately, each in order. A gap, or a cluster that is away, ends it."""
        changes: asyncio.Queue[Change | None] = asyncio.Queue()
        lanes = {JobView: 0.0, PodView: 0.0}
        loop, chance = self._site.loop, self._site.chance

        def travel(change: Change) -> None:
            kind = type(change.object)
            slow = self._site.faults.on and chance.one_in(10)
            lanes[kind] = max(lanes[kind], loop.time() + chance.unit() * (1.0 if slow else 0.01))
            loop.in_world_at(lanes[kind], changes.put_nowait, change)

        def listen() -> Listed:
            self._model.watches[changes] = travel
            return self._model.everything()

        listed = await self._network.read(self._port, listen)
        try:
            yield listed
            while change := await changes.get():
                yield change
            if self._network.is_away(self._port):
                raise Unavailable(f"{self._port} is away")
        finally:
            self._model.watches.pop(changes, None)
