"""The custom resources of one kind, followed as they change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from nexus.backoff import Backoff
from nexus.domain.errors import InvalidInput, Unavailable
from nexus.kubernetes.api import Page, path, read_all
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.stream import Stream

__all__ = ["Collection"]

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


class Collection(Generic[T]):
    """The objects of one kind by name; of a broken one, what is wrong with it."""

    def __init__(
        self, connection: Connection, namespace: str, kind: str, read: Callable[[str, object], T]
    ) -> None:
        self.changes = 0
        """How often `found` has changed."""
        self.found: dict[str, T | InvalidInput] = {}
        self._connection = connection
        self._path = path(_API, "namespaces", namespace, f"{kind.lower()}s")
        self._kind = kind
        self._read = read

    async def list(self) -> Stream[_Resource]:
        """What is not in the list is gone. Returns what comes after it."""
        listed = await read_all(self._connection, _RESOURCES, self._path)
        self.found = dict(map(self._entry, listed.items))
        self.changes += 1
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
                        self.changes += 1
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
