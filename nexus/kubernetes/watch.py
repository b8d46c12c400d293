"""A watch: one list, then two streams of changes, of Jobs and of pods, that go on where they left off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Generic, Literal, TypeVar

import msgspec

from nexus.domain.errors import Refused, Unavailable
from nexus.domain.job import COMPONENT, COMPONENT_VALUE
from nexus.domain.observed import JobView, PodView
from nexus.kubernetes.api import Page, path, read_all
from nexus.kubernetes.connection import Connection, Status
from nexus.ports import Change, Listed

__all__ = ["OURS", "watch"]

OURS = f"{COMPONENT}={COMPONENT_VALUE}"
"""The selector of Jobs and pods that Nexus made."""

_SILENCE = 90.0
"""Seconds. A bookmark comes each minute, so that a longer silence is a connection that died unnoticed."""
_PAUSE = 0.5
_AHEAD = 100
"""Pieces of a stream that are read before anybody takes them; then the API server is made to wait."""

T = TypeVar("T", JobView, PodView)


class _Line(msgspec.Struct, frozen=True):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: _Version


_LINE = msgspec.json.Decoder(_Line)
_BOOKMARK = msgspec.json.Decoder(_Bookmark)
_ERROR = msgspec.json.Decoder(Status)
_JOB = msgspec.json.Decoder(JobView)
_POD = msgspec.json.Decoder(PodView)
_JOBS = msgspec.json.Decoder(Page[JobView])
_PODS = msgspec.json.Decoder(Page[PodView])

_Batch = list[Change] | Exception | None
"""None: the stream cannot go on."""


async def watch(
    connection: Connection, jobs: str, pods: str, silence: float = _SILENCE
) -> AsyncGenerator[Listed | Change]:
    """Everything that is ours in the collections at these paths, then every change, those of one object in order.

    A stream that says nothing for `silence` seconds is opened anew. Ends where it cannot go on without a gap. Raises
    Unavailable.
    """
    all_jobs = await read_all(connection, _JOBS, jobs, labelSelector=OURS)
    all_pods = await read_all(connection, _PODS, pods, labelSelector=OURS)
    batches: asyncio.Queue[_Batch] = asyncio.Queue(_AHEAD)
    followers = [
        asyncio.create_task(_collect(stream.changes(silence), batches))
        for stream in (
            _Stream(connection, jobs, all_jobs.version, _JOB),
            _Stream(connection, pods, all_pods.version, _POD),
        )
    ]
    try:
        yield Listed(tuple(all_jobs.items), tuple(all_pods.items))
        while (batch := await batches.get()) is not None:
            if isinstance(batch, Exception):
                raise batch
            for change in batch:
                yield change
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


async def _collect(changes: AsyncGenerator[list[Change]], into: asyncio.Queue[_Batch]) -> None:
    end: Exception | None = None
    try:
        async with aclosing(changes):
            async for batch in changes:
                await into.put(batch)
    except Exception as error:  # it is raised where the batches are taken
        end = error
    await into.put(end)


class _Stream(Generic[T]):
    """The changes of one collection from a version on."""

    def __init__(
        self, connection: Connection, collection: str, version: str, decoder: msgspec.json.Decoder[T]
    ) -> None:
        self._connection = connection
        self._collection = collection
        self._version = version
        self._decoder: msgspec.json.Decoder[T] = decoder

    async def changes(self, silence: float) -> AsyncGenerator[list[Change]]:
        """Goes on over ends: the API server ends a stream after a while, and cuts off whoever reads too slowly."""
        while True:
            heard = lost = False
            try:
                async with self._connection.stream(self._path, silence) as pieces:
                    try:
                        async for lines in _lines(pieces):
                            heard = True
                            yield [change for line in lines if (change := self._change(line))]
                    except Unavailable:
                        lost = True
            except Refused as error:
                if error.status == 410:
                    return
                where = f"{self._collection} of the cluster {self._connection.name}"
                raise Unavailable(f"{where} cannot be watched: {error}") from error
            if lost and not heard:
                await asyncio.sleep(_PAUSE)
            elif not heard:
                return  # the API server has yet to reach that version: its store was set back

    @property
    def _path(self) -> str:
        return path(
            self._collection,
            labelSelector=OURS,
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=self._version,
        )

    def _change(self, line: bytes) -> Change | None:
        read = _LINE.decode(line)
        match read.type:
            case "ERROR":
                status = _ERROR.decode(read.object)
                raise Refused(status.code, status.message or status.reason)
            case "BOOKMARK":
                self._version = _BOOKMARK.decode(read.object).metadata.resource_version
                return None
            case kind:
                thing = self._decoder.decode(read.object)
                self._version = thing.metadata.resource_version
                return Change(kind, thing)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """As many at a time as there are."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield lines
