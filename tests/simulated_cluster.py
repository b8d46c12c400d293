"""A cluster in memory for tests: what it refuses, starts, ends or loses, and when, is the test's to say.

Jobs and pods are kept as the JSON of the Kubernetes API. A Job has one pod at a time, and another one after a failure,
until `backoffLimit`. Nothing ends by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from nexus.domain.errors import NexusError, OutcomeUnknown, Unavailable
from nexus.domain.observed import JobView, PodView
from nexus.ports import Change, Cluster, Created, DeletionPolicy, Listed

__all__ = ["SimulatedCluster"]

_Object = dict[str, Any]


class SimulatedCluster(Cluster):
    """`outcomes` is what becomes of the next creates: None as usual, an error instead of it, or, where that is an
    OutcomeUnknown, after it was done. While `away`, every call raises Unavailable. While `holds_starts`, pods stay
    Pending until `start`. `uid` is its identity, to be changed at will.
    """

    def __init__(self, now: Callable[[], datetime], name: str = "standalone") -> None:
        self.name = name
        self.uid = str(uuid.uuid4())
        self.away = False
        self.holds_starts = False
        self.outcomes: Iterator[NexusError | None] = iter(())
        self.asked: list[tuple[datetime, _Object]] = []
        """Every manifest that `create` was called with, and when."""
        self.deleted: list[tuple[str, str, DeletionPolicy]] = []
        """Name, uid and policy of every deletion by `delete` that found its Job."""
        self.most_pending = 0
        """The most pods that were Pending at one time."""
        self._now = now
        self._jobs: dict[str, _Object] = {}
        self._pods: dict[str, list[_Object]] = {}
        self._manifests: dict[str, Mapping[str, Any]] = {}
        self._logs: dict[str, str] = {}
        self._said: dict[str, list[str]] = {}
        self._watches: set[asyncio.Queue[Change | None]] = set()
        self._versions = itertools.count(1)

    # The port

    async def identity(self) -> str:
        await self._reached()
        return self.uid

    async def create(self, job: Mapping[str, Any]) -> Created:
        await self._reached()
        self.asked.append((self._now(), dict(job)))
        error = next(self.outcomes, None)
        if error and not isinstance(error, OutcomeUnknown):
            raise error
        created = self._create(job)
        if error:
            raise error
        return created

    async def get(self, name: str) -> JobView | None:
        await self._reached()
        return _job(self._jobs[name]) if name in self._jobs else None

    async def pods(self, job: str) -> Sequence[PodView]:
        await self._reached()
        return [_pod(pod) for pod in self._pods.get(job, [])]

    async def delete(self, name: str, uid: str, policy: DeletionPolicy) -> bool:
        await self._reached()
        if name not in self._jobs or self._jobs[name]["metadata"]["uid"] != uid:
            return False
        self.deleted.append((name, uid, policy))
        self.lose(name, policy)
        return True

    async def log_tail(self, pod: str, limit: int) -> str:
        await self._reached()
        return self._logs.get(pod, "")[-limit:]

    async def events(self, job: str) -> Sequence[str]:
        await self._reached()
        return list(self._said.get(job, []))

    async def watch(self) -> AsyncGenerator[Listed | Change]:
        await self._reached()
        changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self._watches.add(changes)
        try:
            pods = itertools.chain(*self._pods.values())
            yield Listed(tuple(map(_job, self._jobs.values())), tuple(map(_pod, pods)))
            while change := await changes.get():
                yield change
        finally:
            self._watches.discard(changes)

    # What tests have it do

    @property
    def jobs(self) -> dict[str, JobView]:
        return {name: _job(job) for name, job in self._jobs.items()}

    @property
    def placed(self) -> list[str]:
        """The names that `create` was called with, in that order."""
        return [job["metadata"]["name"] for _, job in self.asked]

    def start(self, name: str) -> None:
        """Run the Job's pod."""
        pod = self._pods[name][-1]
        pod["status"] |= {"phase": "Running", "startTime": self._time()}
        self._container(name, {"running": {"startedAt": self._time()}})
        self._say(name, "Started: Started container")

    def wait(self, name: str, reason: str, message: str) -> None:
        """Keep the Job's pod from starting, for a reason that the kubelet would name."""
        self._container(name, {"waiting": {"reason": reason, "message": message}})
        self._say(name, f"Failed: {message}")

    def end(self, name: str, exit_code: int, log: str = "", reason: str = "Error") -> None:
        """End the running container; the Job completes, tries again or has failed."""
        job, pod = self._jobs[name], self._pods[name][-1]
        started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        how = {"exitCode": exit_code, "reason": reason if exit_code else "Completed", "message": log[-80:]}
        self._logs[pod["metadata"]["name"]] = log
        pod["status"]["phase"] = "Failed" if exit_code else "Succeeded"
        self._container(name, {"terminated": how | {"startedAt": started, "finishedAt": self._time()}})
        job["status"]["failed" if exit_code else "succeeded"] += 1
        if exit_code == 0:
            self._finish(
                name, "SuccessCriteriaMet", "Complete", "CompletionsReached", "Reached expected number"
            )
        elif job["status"]["failed"] > self._manifests[name]["spec"].get("backoffLimit", 6):
            reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
            self._finish(name, "FailureTarget", "Failed", reason, message)
        else:
            self._new_pod(name)

    def stop(self, name: str, log: str = "") -> None:
        """Delete the Job's running pod, which takes its time to end."""
        pod = self._pods[name][-1]
        self._logs[pod["metadata"]["name"]] = log
        pod["metadata"]["deletionTimestamp"] = self._time()
        self._publish("MODIFIED", pod, _pod)

    def remove_pods(self, name: str) -> None:
        """Let the Job's pods go, and their logs with them."""
        for pod in self._pods[name]:
            self._logs.pop(pod["metadata"]["name"], None)
            self._publish("DELETED", pod, _pod)
        self._pods[name] = []

    def expire(self, name: str) -> None:
        """Let the Job run into its deadline."""
        for pod in self._pods[name][-1:]:
            pod["status"]["phase"] = "Failed"
        message = "Job was active longer than specified deadline"
        self._finish(name, "FailureTarget", "Failed", "DeadlineExceeded", message)

    def lose(self, name: str, policy: DeletionPolicy = "Background") -> None:
        """Delete a Job behind Nexus's back."""
        job = self._jobs[name]
        job["metadata"]["deletionTimestamp"] = self._time()
        self._publish("MODIFIED", job, _job)
        del self._jobs[name]
        for pod in self._pods.pop(name):
            self._publish("DELETED", pod, _pod)
        self._publish("DELETED", job, _job)
        for child in [child for child in self._jobs.values() if _owned(child, job)]:
            if policy == "Orphan":
                child["metadata"]["ownerReferences"] = []
                self._publish("MODIFIED", child, _job)
            else:
                self.lose(child["metadata"]["name"], policy)

    def disconnect(self) -> None:
        """End every watch."""
        for changes in self._watches:
            changes.put_nowait(None)

    # How it does it

    async def _reached(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable(f"{self.name} cannot be reached")

    def _create(self, manifest: Mapping[str, Any]) -> Created:
        name = manifest["metadata"]["name"]
        if name in self._jobs:
            return Created(_job(self._jobs[name]), fresh=False)
        metadata = manifest["metadata"] | {"uid": str(uuid.uuid4()), "creationTimestamp": self._time()}
        status = {"active": 1, "succeeded": 0, "failed": 0, "startTime": self._time(), "conditions": []}
        job = self._jobs[name] = {"metadata": metadata, "status": status}
        self._manifests[name] = manifest
        self._pods[name] = []
        self._publish("ADDED", job, _job)
        created = Created(_job(job), fresh=True)
        uids = {other["metadata"]["uid"] for other in self._jobs.values()}
        if any(owner["uid"] not in uids for owner in metadata.get("ownerReferences", [])):
            self.lose(name)  # as the garbage collector does
        else:
            self._new_pod(name)
        return created

    def _new_pod(self, name: str) -> None:
        template = self._manifests[name]["spec"]["template"]
        labels = template["metadata"]["labels"] | {"batch.kubernetes.io/job-name": name}
        uid = str(uuid.uuid4())
        metadata = {"uid": uid, "labels": labels, "creationTimestamp": self._time()}
        pod = {"metadata": metadata | {"name": f"{name}-{uid[:5]}"}, "status": {"phase": "Pending"}}
        self._pods[name].append(pod)
        self._say(name, f"SuccessfulCreate: Created pod: {pod['metadata']['name']}")
        self._publish("ADDED", pod, _pod)
        pending = [pods[-1]["status"]["phase"] == "Pending" for pods in self._pods.values() if pods]
        self.most_pending = max(self.most_pending, sum(pending))
        if not self.holds_starts:
            self.start(name)

    def _container(self, name: str, state: _Object) -> None:
        pod = self._pods[name][-1]
        pod["status"]["containerStatuses"] = [{"name": name, "state": state}]
        self._publish("MODIFIED", pod, _pod)

    def _finish(self, name: str, first: str, last: str, reason: str, message: str) -> None:
        job = self._jobs[name]
        job["status"] |= {"active": 0, "completionTime": self._time()}
        for kind in (first, last):
            condition = {"type": kind, "status": "True", "reason": reason, "message": message}
            job["status"]["conditions"].append(condition | {"lastTransitionTime": self._time()})
            self._publish("MODIFIED", job, _job)
        self._say(name, f"{reason}: {message}")

    def _publish(self, kind: Any, thing: _Object, shape: Callable[[_Object], JobView | PodView]) -> None:
        thing["metadata"]["resourceVersion"] = str(next(self._versions))
        for changes in self._watches:
            changes.put_nowait(Change(kind, shape(thing)))

    def _say(self, name: str, event: str) -> None:
        self._said.setdefault(name, []).append(event)

    def _time(self) -> str:
        return self._now().isoformat()


def _owned(child: _Object, owner: _Object) -> bool:
    return any(of["uid"] == owner["metadata"]["uid"] for of in child["metadata"].get("ownerReferences", []))


def _job(thing: _Object) -> JobView:
    return msgspec.convert(thing, JobView)


def _pod(thing: _Object) -> PodView:
    return msgspec.convert(thing, PodView)
