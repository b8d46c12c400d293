"""The contract of the event log: every adapter passes these."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nexus.domain.errors import ConfigError, NexusError
from nexus.domain.topics import NewRecord
from nexus.embedded.event_log import SqliteEventLog
from nexus.ports import EventLog

TOPICS = {"one": 4, "other": 1}


@pytest.fixture(params=["embedded"])
async def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], EventLog]]:
    """Opens the same log again and again, as restarts do."""
    logs: list[SqliteEventLog] = []
    ticks = itertools.count(1.0)

    def opener() -> EventLog:
        for log in logs:
            log.close()
        logs[:] = [SqliteEventLog(tmp_path / "log.db", TOPICS, lambda: next(ticks))]
        return logs[0]

    yield opener
    for log in logs:
        log.close()


def record(key: str, value: bytes = b"{}", topic: str = "one") -> NewRecord:
    return NewRecord(topic, key, value, {"ce_id": value.hex(), "ce_type": "nexus.Test.v1"})


async def everything(log: EventLog, topic: str = "one") -> list[tuple[str, bytes]]:
    counts = await log.topics()
    found = []
    for partition in range(counts[topic]):
        found += [(r.key, r.value) for r in await log.read(topic, partition, 0, 10_000)]
    return found


async def test_what_was_appended_is_read_as_it_was(open_log):
    log = open_log()
    [position] = await log.append([record("k", b'{"a": 1.0}')])
    [read] = await log.read(*position, limit=10)
    assert (read.position, read.key, read.value) == (position, "k", b'{"a": 1.0}')
    assert read.headers == {"ce_id": b'{"a": 1.0}'.hex(), "ce_type": "nexus.Test.v1"}


async def test_a_key_keeps_its_partition_and_its_order(open_log):
    log = open_log()
    positions = [(await log.append([record("k", str(i).encode())]))[0] for i in range(10)]
    assert len({p.partition for p in positions}) == 1
    values = [r.value for r in await log.read("one", positions[0].partition, 0, 100)]
    assert values == [str(i).encode() for i in range(10)]


async def test_offsets_count_up_by_one_in_each_partition(open_log):
    log = open_log()
    positions = await log.append([record(str(i)) for i in range(100)])
    for partition in range(4):
        offsets = [p.offset for p in positions if p.partition == partition]
        assert offsets == list(range(len(offsets)))
        assert await log.end("one", partition) == len(offsets)


async def test_reading_goes_on_where_it_stopped_and_ends(open_log):
    log = open_log()
    await log.append([record("k", str(i).encode(), topic="other") for i in range(5)])
    first = await log.read("other", 0, 0, 3)
    rest = await log.read("other", 0, first[-1].position.offset + 1, 3)
    assert [r.value for r in (*first, *rest)] == [b"0", b"1", b"2", b"3", b"4"]
    assert await log.read("other", 0, 5, 3) == []


async def test_topics_do_not_mix(open_log):
    log = open_log()
    await log.append([record("k", b"1"), record("k", b"2", topic="other")])
    assert await everything(log, "one") == [("k", b"1")]
    assert await everything(log, "other") == [("k", b"2")]


async def test_many_appends_at_once_are_all_there(open_log):
    log = open_log()
    await asyncio.gather(*(log.append([record(str(i), str(i).encode())]) for i in range(500)))
    assert sorted(await everything(log)) == sorted((str(i), str(i).encode()) for i in range(500))


async def test_a_reopened_log_has_everything_and_goes_on(open_log):
    log = open_log()
    [before] = await log.append([record("k", b"1")])
    log = open_log()
    [after] = await log.append([record("k", b"2")])
    assert (after.partition, after.offset) == (before.partition, before.offset + 1)
    assert await everything(log) == [("k", b"1"), ("k", b"2")]


async def test_an_unknown_topic_is_an_error_that_leaves_the_log_working(open_log):
    log = open_log()
    with pytest.raises(NexusError, match="no topic nowhere"):
        await log.append([record("k", topic="nowhere")])
    await log.append([record("k")])


async def test_the_number_of_partitions_is_for_life(open_log, tmp_path):
    open_log()
    with pytest.raises(ConfigError, match="has 4 partitions of one, 5 are configured: keep 4"):
        SqliteEventLog(tmp_path / "log.db", {"one": 5}, lambda: 0.0)


async def test_large_values_and_odd_keys(open_log):
    log = open_log()
    body = bytes(range(256)) * 4096
    await log.append([record("ключ\x00'\"", body)])
    assert await everything(log) == [("ключ\x00'\"", body)]
