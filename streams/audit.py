"""The audit: replays the log, folds it again, and compares the projections with that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from fnmatch import fnmatchcase

import msgspec

from nexus.domain.errors import InvalidInput
from nexus.domain.events import Event
from nexus.domain.run import Run
from nexus.domain.topics import REQUESTS, RUNS, read_event
from nexus.ports import EventLog, Record, RunFilter, RunStore
from streams.processor import Delivery, Processor

__all__ = ["Difference", "Verification", "fold_log", "replay", "verify"]

_CHUNK = 1000
_TOGETHER = 100
"""Rows that are compared at the same time, each with a payload."""


class Difference(msgspec.Struct, frozen=True):
    """A run whose row is not the fold of its facts; `fields` are those that differ, empty where the row is missing."""

    request_id: str
    problem: str
    fields: list[str] = []


class Verification(msgspec.Struct, frozen=True):
    """`behind` counts rows whose last facts the ledger has not folded yet: late, and not wrong."""

    runs: int
    behind: int
    differences: list[Difference]


async def replay(
    log: EventLog,
    topics: Sequence[str],
    *,
    run: str | None = None,
    algorithm: str | None = None,
    by: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> AsyncIterator[tuple[Record, Event]]:
    """Read the events of the log in their order, without damaged records. Times bound those of the records; `by` is a
    subject, or a glob of subjects, that submitted, cancelled or tagged.
    """
    streams = [
        _records(log, topic, number)
        for topic, count in (await log.topics()).items()
        if topic in topics
        for number in range(count)
    ]
    async for record in _by_time(streams):
        if run is not None and record.key != run:
            continue
        if since is not None and record.timestamp < since.timestamp():
            continue
        if until is not None and record.timestamp >= until.timestamp():
            continue
        try:
            event = read_event(record.headers, record.value)
        except InvalidInput:
            continue
        if algorithm is not None and event.algorithm != algorithm:
            continue
        if by is not None and not fnmatchcase(getattr(event, "subject", ""), by):
            continue
        yield record, event


async def fold_log(log: EventLog, ledger: Processor, progress: Callable[[int], None] = lambda _: None) -> int:
    """Give the whole log to a ledger, requests first (law 9). The number of records; nothing is emitted."""
    folded = 0

    async def fold(topic: str, partition: int) -> None:
        nonlocal folded
        async for chunk in _chunks(log, topic, partition):
            await ledger.process([Delivery(record, _nowhere) for record in chunk])
            folded += len(chunk)
            progress(folded)

    topics = await log.topics()
    requests = [topic for topic in topics if topic.startswith(REQUESTS)]
    for together in (requests, [RUNS]):
        # A run is in one partition of a topic, so partitions need not wait for each other's writes.
        async with asyncio.TaskGroup() as group:
            for topic in together:
                for number in range(topics[topic]):
                    group.create_task(fold(topic, number))
    return folded


async def verify(store: RunStore, fresh: RunStore, moving_since: datetime | None = None) -> Verification:
    """Hold the projections against a fresh fold, both ways.

    `moving_since`: the ledger goes on meanwhile, and had folded what the log took before then. Later runs may be
    missing on either side, and rows may have moved on since the log was read.
    """
    runs = behind = 0
    differences: list[Difference] = []

    def late(run: Run) -> bool:
        return moving_since is not None and run.request.at >= moving_since

    async def hold(expected: Run) -> None:
        nonlocal behind
        there = await store.get(expected.id)
        if there is None and late(expected):
            behind += 1
        elif there is None:
            differences.append(Difference(expected.id, "the log has this run, the projections do not"))
        elif there.position < expected.position or (moving_since and there.position > expected.position):
            behind += 1
        elif fields := await _different(store, there, fresh, expected):
            if await store.get(expected.id) == there:
                differences.append(Difference(expected.id, "the projections differ from the log", fields))
            else:
                behind += 1  # it moved on while it was compared

    async for page in _pages(fresh):
        runs += len(page)
        await asyncio.gather(*(hold(run) for run in page))
    async for page in _pages(store):
        known = await fresh.get_many([run.id for run in page])
        differences += [
            Difference(run.id, "the projections have this run, the log does not")
            for run in page
            if run.id not in known and not late(run)
        ]
    return Verification(runs, behind, sorted(differences, key=lambda each: each.request_id))


async def _different(store: RunStore, there: Run, fresh: RunStore, expected: Run) -> list[str]:
    left, right = msgspec.to_builtins(there), msgspec.to_builtins(expected)
    fields = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
    if await store.history(there.id) != await fresh.history(expected.id):
        fields.append("history")
    if await store.payload(there.id) != await fresh.payload(expected.id):
        fields.append("payload")
    return fields


async def _pages(store: RunStore) -> AsyncIterator[list[Run]]:
    after = ""
    while page := await store.find(RunFilter(), _TOGETHER, after):
        yield page
        after = page[-1].id


async def _chunks(log: EventLog, topic: str, partition: int) -> AsyncIterator[list[Record]]:
    offset = 0
    while records := await log.read(topic, partition, offset, _CHUNK):
        yield records
        offset = records[-1].position.offset + 1


async def _records(log: EventLog, topic: str, partition: int) -> AsyncIterator[Record]:
    async for chunk in _chunks(log, topic, partition):
        for record in chunk:
            yield record


async def _by_time(streams: Sequence[AsyncIterator[Record]]) -> AsyncIterator[Record]:
    """Merge partitions, each in its own order, by the time at which the log took each record."""
    heads = {index: record for index, stream in enumerate(streams) if (record := await anext(stream, None))}
    while heads:
        index = min(heads, key=lambda at: heads[at].timestamp)
        yield heads.pop(index)
        if record := await anext(streams[index], None):
            heads[index] = record


def _nowhere() -> None:
    """A fold of the whole log commits nothing."""
