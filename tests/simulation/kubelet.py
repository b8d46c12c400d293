"""What becomes of the Jobs of a cluster: pods start or not, algorithms report or not, Jobs run into their deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from nexus.domain.job import ALGORITHM
from nexus.domain.observed import JobView
from nexus.ports import Change
from tests.simulation.chance import Chance
from tests.simulation.faults import Faults, Trace
from tests.simulation.loop import VirtualLoop
from tests.simulation.templates import ALGORITHMS, DEADLINE, FATAL, TRANSIENT
from tests.support.cluster_model import ClusterModel

__all__ = ["STOLEN", "Kubelet", "Post"]

STOLEN = "s3://stolen"
"""What an algorithm says of a run that is not its own."""

Post = Callable[[str, bytes], Awaitable[int | None]]
"""Sends a body to a path: the status of the answer, None where none came."""

PLANS = (
    *["completes"] * 8,
    *["fails of itself"] * 2,
    "reports twice",
    "reports late",
    "reports under another name",
    "lingers",
    "says nothing",
    "exits 1",
    "exits fatally",
    "exits transiently",
    "runs out of memory",
    "hangs",
    "never starts",
)


class Kubelet:
    """Runs what is put on the cluster. `thief`, where reports are to be proved: who reports for others, now and then."""

    def __init__(
        self,
        model: ClusterModel,
        loop: VirtualLoop,
        chance: Chance,
        faults: Faults,
        trace: Trace,
        post: Post,
        thief: Chance | None,
    ) -> None:
        self._model = model
        self._loop = loop
        self._chance = chance
        self._faults = faults
        self._trace = trace
        self._post = post
        self._thief = thief
        self._bases: dict[str, str] = {}
        """The path of the receiver that each Job was told, and that may be kept when it is gone."""
        model.holds_starts = model.holds_deletions = True
        model.pod_made = self._take_up
        model.watches[self] = self._see

    def _see(self, change: Change) -> None:
        job = change.object
        if not isinstance(job, JobView):
            return
        name, uid = job.metadata.name, job.metadata.uid
        if change.kind == "ADDED":
            self._loop.in_world(DEADLINE, self._expire, name, uid)
        elif change.kind == "MODIFIED" and job.metadata.deletion_timestamp:
            self._loop.in_world(self._chance.between(0.0, 2.0), self._let_go, name, uid)

    def _expire(self, name: str, uid: str) -> None:
        job = self._model.job(name)
        if job and job.metadata.uid == uid and not job.ended:
            self._trace.say(self._loop.time(), self._model.name, f"{name[-4:]} runs into its deadline")
            self._model.expire(name)

    def _let_go(self, name: str, uid: str) -> None:
        job = self._model.job(name)
        if job and job.metadata.uid == uid:
            self._model.vanish(name)

    def _take_up(self, name: str) -> None:
        self._loop.within(self._loop.world, lambda: self._loop.create_task(self._live(name)))

    async def _live(self, name: str) -> None:
        pod = self._model.last_pod(name)
        if "annotations" not in self._model.manifest(name)["metadata"]:
            return  # somebody else's: it just is there
        self._bases[name] = _base(self._model.manifest(name))
        plan = self._chance.of(PLANS)
        self._trace.say(self._loop.time(), self._model.name, f"{name[-4:]} has pod {pod[-5:]}, which {plan}")
        await asyncio.sleep(self._chance.between(0.1, 1.5))
        if not self._is_there(name, pod):
            return
        if plan == "never starts":
            self._model.wait(name, "ImagePullBackOff", "Back-off pulling image")
            return
        self._model.start(name)
        if self._thief and self._thief.one_in(2):
            await self._steal(name, self._thief)
        await asyncio.sleep(self._chance.between(0.1, 3.0))
        if plan == "hangs" or not self._is_there(name, pod):
            return
        code = await self._work(plan, name)
        if code is not None and self._is_there(name, pod):
            reason = "OOMKilled" if code == 137 else "Error"
            self._trace.say(self._loop.time(), self._model.name, f"{name[-4:]} exits with {code}")
            self._model.end(name, code, f"the log of {pod}", reason)
        if plan == "reports late":
            await asyncio.sleep(self._chance.between(0.0, 4.0))
            await self._report(name)

    async def _work(self, plan: str, name: str) -> int | None:
        """What the algorithm does, and its exit code; None where it goes on."""
        match plan:
            case "completes" | "lingers":
                told = await self._report(name)
                if plan == "lingers" and told:
                    return None
                return 0 if told else 1
            case "fails of itself":
                await self._report(name, error="no solution")
                return self._chance.of([0, 1])
            case "reports twice":
                await self._report(name)
                await self._report(name, error="changed my mind")
                return 0
            case "reports under another name":
                await self._report(name, algorithm="another")
                return 0
            case "says nothing" | "reports late":
                return 0
            case "exits fatally":
                return FATAL
            case "exits transiently":
                return TRANSIENT
            case "runs out of memory":
                return 137
        return 1

    async def _report(self, name: str, *, error: str = "", algorithm: str = "") -> bool:
        """Whether it was taken in, as far as the algorithm knows."""
        job = self._model.job(name)
        algorithm = algorithm or (job.metadata.labels[ALGORITHM] if job else ALGORITHMS[0])
        body = {"errorCause": error} if error else {"resultUri": "s3://result"}
        for _ in range(5):
            path = f"{self._bases.get(name, '')}/algorithm/v1/complete/{algorithm}/requests/{name}"
            if await self._post(path, msgspec.json.encode(body)) == 202:
                return True
            await asyncio.sleep(1.0)
        return False

    async def _steal(self, name: str, chance: Chance) -> None:
        """Report for another run: by one's own capability, by one that was cut, or by none."""
        victim = chance.of([*self._bases])
        if victim == name:
            return
        mine = self._bases[name]
        base = chance.of([mine, mine, mine[:-1], ""])
        job = self._model.job(victim)
        algorithm = job.metadata.labels[ALGORITHM] if job else chance.of(ALGORITHMS)
        path = f"{base}/algorithm/v1/complete/{algorithm}/requests/{victim}"
        await self._post(path, msgspec.json.encode({"resultUri": STOLEN}))

    def _is_there(self, name: str, pod: str) -> bool:
        job = self._model.job(name)
        return job is not None and not job.ended and self._model.last_pod(name) == pod


def _base(manifest: Mapping[str, Any]) -> str:
    """The path of the address by which a Job reaches the receiver; empty where it is told none."""
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    told = [each["value"] for each in container["env"] if each["name"] == "NEXUS__CLIENT__RECEIVER"]
    return urlsplit(told[-1]).path if told else ""
