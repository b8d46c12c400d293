"""Templates and workgroups from custom resources, followed as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from nexus.backoff import Backoff
from nexus.domain.errors import InvalidInput, Unavailable
from nexus.domain.manifest import TEMPLATE, WORKGROUP, read_template, read_workgroup, usable
from nexus.domain.template import Template, Workgroup
from nexus.kubernetes.api import Page, path, read_all
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.stream import Stream
from nexus.ports import Templates

__all__ = ["KubernetesTemplates"]

_API = "/apis/science.sneaksanddata.com/v1"

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    resource_version: str


class _Resource(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: Any = {}


_RESOURCE = msgspec.json.Decoder(_Resource)
_RESOURCES = msgspec.json.Decoder(Page[_Resource])


class KubernetesTemplates(Templates):
    """Those of one namespace. A broken object breaks what it names, not the rest. Who opened the connection closes it."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        of_namespace = path(_API, "namespaces", namespace)
        self._templates = _Collection(connection, of_namespace, TEMPLATE, read_template)
        self._workgroups = _Collection(connection, of_namespace, WORKGROUP, read_workgroup)

    async def start(self) -> None:
        """Everything that is deployed is known when it returns. Raises Unavailable."""
        await self._templates.list()
        await self._workgroups.list()

    def names(self) -> list[str]:
        return sorted(name for name, found in self._templates.found.items() if isinstance(found, Template))

    def template(self, name: str) -> Template | None:
        return usable(self._templates.found.get(name))

    def workgroup(self, name: str) -> Workgroup | None:
        return usable(self._workgroups.found.get(name))

    def unreadable(self) -> Sequence[InvalidInput]:
        return ()  # an object has its name, whatever else it holds

    async def watch(self) -> None:
        """While the API server is away, what is known is served."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._templates.follow())
            group.create_task(self._workgroups.follow())


class _Collection(Generic[T]):
    """The objects of one kind by name; of a broken one, what is wrong with it."""

    def __init__(
        self, connection: Connection, of_namespace: str, kind: str, read: Callable[[str, object], T]
    ) -> None:
        self.found: dict[str, T | InvalidInput] = {}
        self._connection = connection
        self._path = path(of_namespace, f"{kind.lower()}s")
        self._kind = kind
        self._read = read

    async def list(self) -> Stream[_Resource]:
        """What is not in the list is gone. Returns what comes after it."""
        listed = await read_all(self._connection, _RESOURCES, self._path)
        self.found = dict(map(self._entry, listed.items))
        return Stream(self._connection, self._path, listed.version, _RESOURCE)

    async def follow(self) -> None:
        """Until cancelled."""
        backoff = Backoff()
        while True:
            try:
                stream = await self.list()
                _log.info("resources_listed", kind=self._kind, count=len(self.found))
                async with aclosing(stream.events()) as batches:
                    async for batch in batches:
                        for event in batch:
                            if event.kind == "DELETED":
                                self.found.pop(event.object.metadata.name, None)
                            else:
                                self.found.update([self._entry(event.object)])
            except Unavailable as error:
                _log.warning("resources_not_followed", kind=self._kind, problem=str(error))
            await backoff.pause()

    def _entry(self, resource: _Resource) -> tuple[str, T | InvalidInput]:
        name = resource.metadata.name
        try:
            return name, self._read(name, resource.spec)
        except InvalidInput as error:
            broken = InvalidInput(f"{self._kind} {name}: {error.field}", error.problem)
            _log.warning("resource_invalid", problem=str(broken))
            return name, broken
