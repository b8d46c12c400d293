"""The changes of one collection from a version on, over ends of the stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from nexus.backoff import Backoff
from nexus.domain.errors import Refused, Unavailable
from nexus.kubernetes.api import path
from nexus.kubernetes.connection import Connection, Status
from nexus.kubernetes.decoding import decode

__all__ = ["SILENCE", "Event", "Stream"]

SILENCE = 90.0
"""Seconds. A bookmark comes each minute, so that a longer silence is a connection that died unnoticed."""


class _HasVersion(Protocol):
    @property
    def resource_version(self) -> str: ...


class _Kept(Protocol):
    @property
    def metadata(self) -> _HasVersion: ...


T = TypeVar("T", bound=_Kept)


class Event(NamedTuple, Generic[T]):
    """One step: the object as it is now, or as it last was before it went."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    object: T


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


class Stream(Generic[T]):
    """`collection` is a path, `version` that of a list of it, with the same selectors in the query."""

    def __init__(
        self,
        connection: Connection,
        collection: str,
        version: str,
        decoder: msgspec.json.Decoder[T],
        **query: str,
    ) -> None:
        self._connection = connection
        self._collection = collection
        self._version = version
        self._decoder: msgspec.json.Decoder[T] = decoder
        self._query = query

    async def events(self, silence: float = SILENCE) -> AsyncGenerator[list[Event[T]]]:
        """Goes on over ends: the API server ends a stream after a while, and cuts off whoever reads too slowly.

        Opens the stream anew after that many seconds without a word. Ends where it cannot go on without a gap. Raises
        Unavailable.
        """
        backoff = Backoff()
        while True:
            heard = lost = False
            try:
                async with self._connection.stream(self._path(), silence) as pieces:
                    try:
                        async for lines in _lines(pieces):
                            batch = [event for line in lines if (event := self._event(line))]
                            heard = True
                            yield batch
                    except Unavailable:
                        lost = True
            except Refused as error:
                if error.status == 410:
                    return
                where = f"{self._collection} of the cluster {self._connection.name}"
                raise Unavailable(f"{where} cannot be watched: {error}") from error
            if lost and not heard:
                await backoff.pause()
            elif not heard:
                return  # the API server has yet to reach that version: its store was set back

    def _path(self) -> str:
        return path(
            self._collection,
            **self._query,
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=self._version,
        )

    def _event(self, line: bytes) -> Event[T] | None:
        where = f"{self._collection} of the cluster {self._connection.name}"
        read = decode(_LINE, line, where)
        match read.type:
            case "ERROR":
                status = decode(_ERROR, read.object, where)
                raise Refused(status.code, status.message or status.reason)
            case "BOOKMARK":
                self._version = decode(_BOOKMARK, read.object, where).metadata.resource_version
                return None
            case kind:
                thing = decode(self._decoder, read.object, where)
                self._version = thing.metadata.resource_version
                return Event(kind, thing)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """As many at a time as there are."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield lines
