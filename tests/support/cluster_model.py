"""What a cluster holds, in memory: what it starts, ends or loses, and when, is to be said from outside.

Jobs and pods are kept as the JSON of the Kubernetes API. A Job has one pod at a time, and another one after a failure,
until `backoffLimit` or its failure policy says otherwise. Nothing ends by itself.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from nexus.domain.events import DeletionPolicy
from nexus.domain.observed import JobView, PodView
from nexus.ports import Change, Created, Listed

__all__ = ["ClusterModel"]

_Object = dict[str, Any]


class ClusterModel:
    """`uid` is its identity, to be changed at will. While `holds_starts`, pods stay Pending until `start`. While
    `holds_deletions`, a Job that is deleted in the foreground, or leaves orphans, is there, terminating, until `vanish`.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        new_uid: Callable[[], object] = uuid.uuid4,
        name: str = "standalone",
    ) -> None:
        self.name = name
        self.uid = str(new_uid())
        self.holds_starts = False
        self.holds_deletions = False
        self.made: Counter[str] = Counter()
        """How often a Job of each name was really made."""
        self.deleted: list[tuple[str, str, DeletionPolicy]] = []
        """Name, uid and policy of every deletion by `remove` that found its Job."""
        self.most_pending = 0
        """The most pods that were Pending at one time."""
        self.watches: dict[object, Callable[[Change], None]] = {}
        """Who is told of every change."""
        self.pod_made: Callable[[str], None] = lambda _: None
        """Is told the Job of every new pod."""
        self._now = now
        self._new_uid = new_uid
        self._jobs: dict[str, _Object] = {}
        self._pods: dict[str, list[_Object]] = {}
        self._manifests: dict[str, Mapping[str, Any]] = {}
        self._logs: dict[str, str] = {}
        self._said: dict[str, list[str]] = {}
        self._versions = itertools.count(1)

    # What an API server answers

    @property
    def jobs(self) -> dict[str, JobView]:
        return {name: _job(job) for name, job in self._jobs.items()}

    def job(self, name: str) -> JobView | None:
        return _job(self._jobs[name]) if name in self._jobs else None

    def pods_of(self, job: str) -> list[PodView]:
        return [_pod(pod) for pod in self._pods.get(job, [])]

    def log_of(self, pod: str, limit: int) -> str:
        return self._logs.get(pod, "")[-limit:]

    def said_of(self, job: str) -> list[str]:
        return list(self._said.get(job, []))

    def everything(self) -> Listed:
        pods = itertools.chain(*self._pods.values())
        return Listed(tuple(map(_job, self._jobs.values())), tuple(map(_pod, pods)))

    def make(self, manifest: Mapping[str, Any]) -> Created:
        name = manifest["metadata"]["name"]
        if name in self._jobs:
            return Created(_job(self._jobs[name]), fresh=False)
        self.made[name] += 1
        metadata = manifest["metadata"] | {"uid": str(self._new_uid()), "creationTimestamp": self._time()}
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

    def remove(self, name: str, uid: str, policy: DeletionPolicy) -> bool:
        """False where that very Job is not there."""
        job = self._jobs.get(name)
        if job is None or job["metadata"]["uid"] != uid:
            return False
        self.deleted.append((name, uid, policy))
        if self.holds_deletions and policy != "Background":
            job["metadata"]["deletionTimestamp"] = self._time()
            job["metadata"]["finalizers"] = [policy]
            self._publish("MODIFIED", job, _job)
        else:
            self.lose(name, policy)
        return True

    # What happens on it

    def manifest(self, name: str) -> Mapping[str, Any]:
        return self._manifests[name]

    def last_pod(self, name: str) -> str:
        """The name of the Job's pod; empty where the Job is gone."""
        pods = self._pods.get(name)
        return pods[-1]["metadata"]["name"] if pods else ""

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
        action = self._action(name, exit_code)
        if action != "Ignore":
            job["status"]["failed" if exit_code else "succeeded"] += 1
        if exit_code == 0:
            self._finish(
                name, "SuccessCriteriaMet", "Complete", "CompletionsReached", "Reached expected number"
            )
        elif action == "FailJob":
            message = f"Container {name} for pod default/{pod['metadata']['name']} failed with exit code {exit_code}"
            self._finish(
                name, "FailureTarget", "Failed", "PodFailurePolicy", f"{message} matching FailJob rule"
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

    def vanish(self, name: str) -> None:
        """Let a Job go that is terminating."""
        self.lose(name, self._jobs[name]["metadata"].pop("finalizers")[0])

    def lose(self, name: str, policy: DeletionPolicy = DeletionPolicy.BACKGROUND) -> None:
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

    # How it does it

    def _action(self, name: str, exit_code: int) -> str:
        """What the Job's failure policy says of an exit code."""
        for rule in self._manifests[name]["spec"].get("podFailurePolicy", {}).get("rules", []):
            if exit_code in rule.get("onExitCodes", {}).get("values", []):
                return str(rule["action"])
        return "Count"

    def _new_pod(self, name: str) -> None:
        template = self._manifests[name]["spec"]["template"]
        labels = template["metadata"]["labels"] | {"batch.kubernetes.io/job-name": name}
        uid = str(self._new_uid())
        metadata = {"uid": uid, "labels": labels, "creationTimestamp": self._time()}
        pod = {"metadata": metadata | {"name": f"{name}-{uid[:5]}"}, "status": {"phase": "Pending"}}
        self._pods[name].append(pod)
        self._say(name, f"SuccessfulCreate: Created pod: {pod['metadata']['name']}")
        self._publish("ADDED", pod, _pod)
        pending = [pods[-1]["status"]["phase"] == "Pending" for pods in self._pods.values() if pods]
        self.most_pending = max(self.most_pending, sum(pending))
        if not self.holds_starts:
            self.start(name)
        self.pod_made(name)

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
        if self.watches:
            change = Change(kind, shape(thing))
            for tell in [*self.watches.values()]:
                tell(change)

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
