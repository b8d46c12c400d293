"""A watch: one list, then two streams of changes, of Jobs and of pods, that go on where they left off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

import msgspec

from nexus.domain.job import COMPONENT, COMPONENT_VALUE
from nexus.domain.observed import JobView, PodView
from nexus.kubernetes.api import Page, read_all
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.stream import SILENCE, Event, Stream
from nexus.ports import Change, Listed

__all__ = ["OURS", "watch"]

OURS = f"{COMPONENT}={COMPONENT_VALUE}"
"""The selector of Jobs and pods that Nexus made."""

_AHEAD = 100
"""Pieces of a stream that are read before anybody takes them; then the API server is made to wait."""

T = TypeVar("T", JobView, PodView)

_JOB = msgspec.json.Decoder(JobView)
_POD = msgspec.json.Decoder(PodView)
_JOBS = msgspec.json.Decoder(Page[JobView])
_PODS = msgspec.json.Decoder(Page[PodView])

_Batch = list[Change] | Exception | None
"""None: the stream cannot go on."""


async def watch(
    connection: Connection, jobs: str, pods: str, silence: float = SILENCE
) -> AsyncGenerator[Listed | Change]:
    """Everything that is ours in the collections at these paths, then every change, those of one object in order.

    A stream that says nothing for `silence` seconds is opened anew. Ends where it cannot go on without a gap. Raises
    Unavailable.
    """
    all_jobs = await read_all(connection, _JOBS, jobs, labelSelector=OURS)
    all_pods = await read_all(connection, _PODS, pods, labelSelector=OURS)
    job_stream = Stream(connection, jobs, all_jobs.version, _JOB, labelSelector=OURS)
    pod_stream = Stream(connection, pods, all_pods.version, _POD, labelSelector=OURS)
    batches: asyncio.Queue[_Batch] = asyncio.Queue(_AHEAD)
    followers = [
        asyncio.create_task(_collect(job_stream.events(silence), batches)),
        asyncio.create_task(_collect(pod_stream.events(silence), batches)),
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


async def _collect(events: AsyncGenerator[list[Event[T]]], into: asyncio.Queue[_Batch]) -> None:
    end: Exception | None = None
    try:
        async with aclosing(events):
            async for batch in events:
                await into.put([Change(kind, thing) for kind, thing in batch])
    except Exception as error:  # it is raised where the batches are taken
        end = error
    await into.put(end)
