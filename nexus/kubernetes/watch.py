"""A watch: one list, then two streams of changes, of Jobs and of pods, that go on where they left off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal, TypeVar

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


async def watch(connection: Connection, jobs: str, pods: str) -> AsyncGenerator[Listed | Change]:
    """Everything that is ours in the collections at these paths, then every change, those of one object in order.

    Ends where it cannot go on without a gap. Raises Unavailable.
    """
    all_jobs = await read_all(connection, _JOBS, jobs, labelSelector=OURS)
    all_pods = await read_all(connection, _PODS, pods, labelSelector=OURS)
    batches: asyncio.Queue[_Batch] = asyncio.Queue(_AHEAD)
    followers = [
        asyncio.create_task(_collect(changes, batches))
        for changes in (
            _follow(connection, jobs, all_jobs.version, _JOB),
            _follow(connection, pods, all_pods.version, _POD),
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


async def _follow(
    connection: Connection, collection: str, version: str, decoder: msgspec.json.Decoder[T]
) -> AsyncGenerator[list[Change]]:
    """Goes on over ends of the stream: the API server ends it after a while, and cuts off whoever reads too slowly."""
    while True:
        at = path(
            collection,
            labelSelector=OURS,
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=version,
        )
        heard = False
        try:
            async with aclosing(connection.lines(at, _SILENCE)) as pieces:
                async for lines in pieces:
                    heard = True
                    changes: list[Change] = []
                    for line in map(_LINE.decode, lines):
                        match line.type:
                            case "ERROR":
                                yield changes
                                raise _refused(_ERROR.decode(line.object))
                            case "BOOKMARK":
                                version = _BOOKMARK.decode(line.object).metadata.resource_version
                            case kind:
                                thing = decoder.decode(line.object)
                                version = thing.metadata.resource_version
                                changes.append(Change(kind, thing))
                    yield changes
        except Refused as error:
            if error.status == 410:
                return
            where = f"{collection} of the cluster {connection.name}"
            raise Unavailable(f"{where} cannot be watched: {error}") from error
        except Unavailable:
            if not heard:
                raise
        if not heard:
            # So it goes with a version that the API server has yet to reach, after its store was set back.
            return


def _refused(status: Status) -> Refused:
    return Refused(status.code, status.message or status.reason)
