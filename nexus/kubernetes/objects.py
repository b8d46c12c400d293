"""The adapter: the port `Objects` on the API of Kubernetes, with a field manager of our own."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec

from nexus.domain.errors import NotFound, Unavailable
from nexus.domain.sync.copies import Apply, surplus
from nexus.domain.sync.objects import API_VERSIONS, CONFIG_MAP, MANAGER, SECRET, Key, Object, Status
from nexus.domain.sync.status import Notice
from nexus.kubernetes.api import Page, path, read, read_all
from nexus.kubernetes.connection import Answer, Connection, Method, refusal
from nexus.kubernetes.decoding import decode
from nexus.kubernetes.stream import Stream
from nexus.ports import ObjectChange, Objects

__all__ = ["KubernetesObjects"]

_OBJECT = msgspec.json.Decoder(Object)
_OBJECTS = msgspec.json.Decoder(Page[Object])
_PLURALS = {kind: f"{kind.lower()}s" for kind in API_VERSIONS}
_SELECTORS = {SECRET: {"fieldSelector": "type!=helm.sh/release.v1"}}
"""Helm keeps each revision of a release in a Secret of a megabyte, which no template names."""
_APPLY, _MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
_SHOWN = 1024
"""Characters of a message: an Event takes no more."""


class _Uid(msgspec.Struct, frozen=True):
    uid: str = ""


class _Named(msgspec.Struct, frozen=True):
    metadata: _Uid


_NAMED = msgspec.json.Decoder(_Named)


class KubernetesObjects(Objects):
    """Who opened the connection closes it."""

    def __init__(self, name: str, connection: Connection, namespace: str) -> None:
        self.name = name
        self._connection = connection
        self._namespace = namespace

    async def identity(self) -> str:
        body = await read(self._connection, path("/api/v1/namespaces", "kube-system"))
        if body is None:
            raise Unavailable(f"the cluster {self.name} has no namespace kube-system: is it a cluster?")
        return decode(_NAMED, body, f"the namespace kube-system of the cluster {self.name}").metadata.uid

    async def watch(self, kind: str) -> AsyncGenerator[list[Object] | list[ObjectChange]]:
        at, query = self._path(Key(kind, "")), _SELECTORS.get(kind, {})
        if kind not in {SECRET, CONFIG_MAP} and await read(self._connection, path(at, limit="1")) is None:
            raise NotFound(
                f"the cluster {self.name} does not know {kind}: apply the custom resource definitions there"
            )
        listed = await read_all(self._connection, _OBJECTS, at, **query)
        yield listed.items
        stream = Stream(self._connection, at, listed.version, _OBJECT, **query)
        async with aclosing(stream.events()) as batches:
            async for batch in batches:
                yield [ObjectChange(event.kind, event.object) for event in batch]

    async def apply(self, write: Apply) -> Object | None:
        return await (self._make(write) if write.found is None else self._change(write, write.found))

    async def _make(self, write: Apply) -> Object | None:
        answer = await self._patch(write.key, write.body, _APPLY)
        if answer.status == 201:
            return self._object(answer)
        if answer.status == 200:  # it was made a moment ago, by somebody else: what was added goes again
            kind = {name: write.body[name] for name in ("apiVersion", "kind")}
            await self._patch(write.key, kind | {"metadata": {"name": write.key.name}}, _APPLY)
        elif answer.status != 409:
            raise refusal(answer)
        return None

    async def _change(self, write: Apply, found: Object) -> Object | None:
        uid = {"uid": found.metadata.uid}
        body = write.body | {"metadata": write.body["metadata"] | uid}
        answer = await self._patch(write.key, body, _APPLY, force="true")
        if answer.status in {404, 409}:
            return None
        applied = self._object(answer)
        # Apply leaves alone what another manager has put there.
        if rest := surplus(write.body, applied):
            return self._object(await self._patch(write.key, rest | {"metadata": uid}, _MERGE))
        return applied

    async def delete(self, key: Key, uid: str) -> None:
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        answer = await self._request("DELETE", self._path(key), body, "application/json")
        if answer.status not in {200, 202, 404, 409}:
            raise refusal(answer)

    async def set_finalizers(self, key: Key, found: Object, finalizers: Sequence[str]) -> Object | None:
        version = {"resourceVersion": found.metadata.resource_version, "finalizers": list(finalizers)}
        answer = await self._patch(key, {"metadata": version}, _MERGE)
        return None if answer.status in {404, 409} else self._object(answer)

    async def set_status(self, key: Key, found: Object, status: Status) -> Object | None:
        body = {
            "apiVersion": API_VERSIONS[key.kind],
            "kind": key.kind,
            "metadata": {"name": key.name, "uid": found.metadata.uid},
            "status": msgspec.to_builtins(status),
        }
        answer = await self._patch(key, body, _APPLY, "status", force="true")
        return None if answer.status in {404, 409} else self._object(answer)

    async def record(self, key: Key, about: Object, notice: Notice, at: datetime) -> None:
        said = (about.metadata.uid, about.metadata.resource_version, notice.reason, notice.message)
        mark = hashlib.blake2b("\n".join(said).encode(), digest_size=8).hexdigest()
        stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "metadata": {"name": f"{key.name[:200].rstrip('-.')}.{mark}"},
            "involvedObject": {
                "apiVersion": API_VERSIONS[key.kind],
                "kind": key.kind,
                "namespace": self._namespace,
                "name": key.name,
                "uid": about.metadata.uid,
                "resourceVersion": about.metadata.resource_version,
            },
            "type": notice.type,
            "reason": notice.reason,
            "message": notice.message[:_SHOWN],
            "source": {"component": MANAGER},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        events = path("/api/v1", "namespaces", self._namespace, "events")
        answer = await self._request("POST", events, body, "application/json")
        if answer.status not in {201, 409}:
            raise refusal(answer)

    def _path(self, key: Key, *more: str, **query: str) -> str:
        root = "/api/v1" if API_VERSIONS[key.kind] == "v1" else f"/apis/{API_VERSIONS[key.kind]}"
        names = [name for name in (key.name, *more) if name]
        return path(root, "namespaces", self._namespace, _PLURALS[key.kind], *names, **query)

    async def _patch(self, key: Key, body: Mapping[str, Any], how: str, *more: str, **query: str) -> Answer:
        at = self._path(key, *more, fieldManager=MANAGER, **query)
        return await self._request("PATCH", at, body, how)

    async def _request(self, method: Method, at: str, body: object, content_type: str) -> Answer:
        encoded = msgspec.json.encode(body)
        answer = await self._connection.request(method, at, encoded, content_type=content_type)
        if answer.status in {408, 429} or answer.status >= 500:
            raise Unavailable(f"the cluster {self.name} is busy: {refusal(answer)}")
        return answer

    def _object(self, answer: Answer) -> Object:
        if answer.status not in {200, 201}:
            raise refusal(answer)
        return decode(_OBJECT, answer.body, f"the cluster {self.name}")
