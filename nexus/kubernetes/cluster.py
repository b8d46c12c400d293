"""The adapter: the port `Cluster` on the API of Kubernetes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from nexus.domain.errors import OutcomeUnknown, Refused, Unavailable
from nexus.domain.events import DeletionPolicy
from nexus.domain.job import encoded
from nexus.domain.observed import JobView, PodView
from nexus.domain.tail import tail as end_of
from nexus.kubernetes.api import Page, path, read, read_all
from nexus.kubernetes.connection import Connection, refusal, status
from nexus.kubernetes.watch import watch
from nexus.ports import Change, Cluster, Created, Listed

__all__ = ["KubernetesCluster"]

_CREATED_POD = re.compile(r"Created pod: (\S+)")
_IDENTITY_AGE = 5.0
_LOG_SILENCE = 30.0
_LOG_LINE = 32
"""Bytes: the tail of a log whose lines are shorter than this is cut shorter than it might be."""


_PODS_HEARD = 10
"""A Job that is tried again for days has more pods than anybody wants to hear of."""


class _Name(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Named(msgspec.Struct, frozen=True):
    metadata: _Name


class _Event(msgspec.Struct, frozen=True):
    metadata: _Name
    reason: str = ""
    message: str = ""


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str = ""


_VERSION = msgspec.json.Decoder(_Version)
_JOB = msgspec.json.Decoder(JobView)
_PODS = msgspec.json.Decoder(Page[PodView])
_EVENTS = msgspec.json.Decoder(Page[_Event])
_NAMED = msgspec.json.Decoder(_Named)


class KubernetesCluster(Cluster):
    """Jobs in one namespace. Who opened the connection closes it."""

    def __init__(self, name: str, connection: Connection, namespace: str) -> None:
        self.name = name
        self.connection = connection
        self._jobs = path("/apis/batch/v1", "namespaces", namespace, "jobs")
        self._pods = path("/api/v1", "namespaces", namespace, "pods")
        self._events = path("/api/v1", "namespaces", namespace, "events")
        self._identity = ""
        self._identified_at = 0.0
        self._identified = ""
        self._identifying = asyncio.Lock()

    async def identity(self) -> str:
        """Asked for again after some seconds, and where the kubeconfig names another API server."""
        async with self._identifying:
            host, now = await self.connection.host(), asyncio.get_running_loop().time()
            if host != self._identified or now > self._identified_at + _IDENTITY_AGE:
                body = await read(self.connection, path("/api/v1", "namespaces", "kube-system"))
                if body is None:
                    raise Unavailable(
                        f"the cluster {self.name} has no namespace kube-system: is it starting?"
                    )
                self._identity = _NAMED.decode(body).metadata.uid
                self._identified, self._identified_at = host, now
            return self._identity

    async def create(self, job: Mapping[str, Any]) -> Created:
        answer = await self.connection.request("POST", self._jobs, encoded(job))
        if answer.status == 201:
            return Created(_JOB.decode(answer.body), fresh=True)
        if status(answer).reason == "AlreadyExists" and (there := await self.get(job["metadata"]["name"])):
            return Created(there, fresh=False)
        raise refusal(answer)

    async def judge(self, job: Mapping[str, Any]) -> None:
        """A dry run, in which the API server also names members that it does not know."""
        asked = path(self._jobs, dryRun="All", fieldValidation="Strict")
        answer = await self.connection.request("POST", asked, encoded(job))
        if answer.status != 201:
            raise refusal(answer)

    async def version(self) -> str:
        body = await read(self.connection, "/version")
        return "" if body is None else _VERSION.decode(body).git_version

    async def get(self, name: str) -> JobView | None:
        body = await read(self.connection, path(self._jobs, name))
        return None if body is None else _JOB.decode(body)

    async def pods(self, job: str) -> Sequence[PodView]:
        selector = f"batch.kubernetes.io/job-name={job}"
        pods = await read_all(self.connection, _PODS, self._pods, labelSelector=selector)
        return sorted(pods.items, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.metadata.name))

    async def delete(self, name: str, uid: str, policy: DeletionPolicy) -> bool:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid},
            "propagationPolicy": policy,
        }
        if not await self._deleted(path(self._jobs, name), options):
            return False
        if policy == DeletionPolicy.ORPHAN:
            # To Kubernetes the pods are the Job's children too, and they would go on for ever.
            pods = path(self._pods, labelSelector=f"batch.kubernetes.io/controller-uid={uid}")
            await self._deleted(pods, {"apiVersion": "v1", "kind": "DeleteOptions"})
        return True

    async def log_tail(self, pod: str, limit: int) -> str:
        """Of the container that is named as the pod's Job is, which the materializer sees to."""
        # `limitBytes` would give the first bytes.
        query = {"container": pod.rpartition("-")[0], "tailLines": str(max(limit // _LOG_LINE, 1))}
        log, tail = path(self._pods, pod, "log", **query), b""
        try:
            async with self.connection.stream(log, _LOG_SILENCE) as pieces:
                async for piece in pieces:
                    tail = (tail + piece)[-limit - 1 :]
        except Refused as error:
            if error.status in {400, 404}:  # it has not started, or is gone
                return ""
            raise Unavailable(
                f"the log of {pod} on the cluster {self.name} cannot be read: {error}"
            ) from error
        return end_of(tail, limit)

    async def events(self, job: str) -> Sequence[str]:
        """Also of pods that are gone, as long as the event of their creation is there."""
        events = sorted(await self._events_of("Job", job), key=_age)
        pods = [name for event in events for name in _CREATED_POD.findall(event.message)]
        pods += [pod.metadata.name for pod in await self.pods(job)]
        for pod in list(dict.fromkeys(pods))[-_PODS_HEARD:]:
            events += await self._events_of("Pod", pod)
        return [f"{event.reason}: {event.message}" for event in sorted(events, key=_age)]

    def watch(self) -> AsyncGenerator[Listed | Change]:
        """Ends where the API server no longer knows what came after the last change that was seen."""
        return watch(self.connection, self._jobs, self._pods)

    async def _deleted(self, at: str, options: Mapping[str, Any]) -> bool:
        answer = await self.connection.request("DELETE", at, msgspec.json.encode(options))
        if answer.status in {404, 409}:
            return False
        if answer.status != 200:
            error = OutcomeUnknown if answer.status >= 500 else Unavailable
            raise error(f"{at} of the cluster {self.name} was not deleted: {refusal(answer)}")
        return True

    async def _events_of(self, kind: str, name: str) -> list[_Event]:
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        return (await read_all(self.connection, _EVENTS, self._events, fieldSelector=selector)).items


def _age(event: _Event) -> tuple[int, str]:
    """The order in which the API server took them: their times are of whole seconds, and not in the same fields."""
    version = event.metadata.resource_version
    return len(version), version
