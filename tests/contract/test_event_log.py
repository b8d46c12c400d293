"""The contract of the event log: every adapter passes these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from nexus.config import Kafka
from nexus.domain.errors import ConfigError, NexusError
from nexus.domain.topics import NewRecord
from nexus.kafka.names import Names
from nexus.ports import EventLog
from tests.contract.event_logs import EmbeddedLogs, KafkaLogs, Logs, SimulatedLogs, kafka_topics
from tests.support.servers import on_server


class Opener:
    """Opens the same log again and again, as restarts do. It has four partitions of `one`, and one of `other`."""

    def __init__(self, logs: Logs, one: str, other: str, shown: str = "") -> None:
        self.one = one
        self.shown = shown or one
        """What errors call it, so that it is found on the brokers."""
        self.other = other
        self._logs = logs

    async def __call__(self, partitions: int = 4) -> EventLog:
        return await self._logs.open({self.one: partitions, self.other: 1})

    async def close(self) -> None:
        await self._logs.close()


@pytest.fixture(params=["embedded", "simulated", *on_server("kafka_server", "kafka", "kafka with a prefix")])
async def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:
        if request.param == "embedded":
            opener = Opener(EmbeddedLogs(tmp_path), "one", "other")
        elif request.param == "simulated":
            opener = Opener(SimulatedLogs(), "one", "other")
        else:
            prefix = {"prefix": "another"} if "prefix" in request.param else {}
            kafka = Kafka(servers=request.getfixturevalue("kafka_server"), **prefix)
            topics = await stack.enter_async_context(kafka_topics(kafka, [4, 1]))
            opener = Opener(KafkaLogs(kafka), *topics, shown=Names(kafka.prefix).there(topics[0]))
        stack.push_async_callback(opener.close)
        yield opener


def record(topic: str, key: str, value: bytes = b"{}") -> NewRecord:
    return NewRecord(topic, key, value, {"ce_id": value.hex(), "ce_type": "nexus.Test.v1"})


async def everything(log: EventLog, topic: str) -> list[tuple[str, bytes]]:
    counts = await log.topics()
    found = []
    for partition in range(counts[topic]):
        found += [(r.key, r.value) for r in await log.read(topic, partition, 0, 10_000)]
    return found


async def test_what_was_appended_is_read_as_it_was(open_log):
    log = await open_log()
    [position] = await log.append([record(open_log.one, "k", b'{"a": 1.0}')])
    [read] = await log.read(*position, limit=10)
    assert (read.position, read.key, read.value) == (position, "k", b'{"a": 1.0}')
    assert read.headers == {"ce_id": b'{"a": 1.0}'.hex(), "ce_type": "nexus.Test.v1"}


async def test_a_key_keeps_its_partition_and_its_order(open_log):
    log = await open_log()
    positions = [(await log.append([record(open_log.one, "k", str(i).encode())]))[0] for i in range(10)]
    assert len({p.partition for p in positions}) == 1
    values = [r.value for r in await log.read(open_log.one, positions[0].partition, 0, 100)]
    assert values == [str(i).encode() for i in range(10)]


async def test_offsets_count_up_by_one_in_each_partition(open_log):
    log = await open_log()
    positions = await log.append([record(open_log.one, str(i)) for i in range(100)])
    for partition in range(4):
        offsets = [p.offset for p in positions if p.partition == partition]
        assert offsets == list(range(len(offsets)))
        assert await log.end(open_log.one, partition) == len(offsets)


async def test_reading_goes_on_where_it_stopped_and_ends(open_log):
    log = await open_log()
    await log.append([record(open_log.other, "k", str(i).encode()) for i in range(5)])
    first = await log.read(open_log.other, 0, 0, 3)
    rest = await log.read(open_log.other, 0, first[-1].position.offset + 1, 3)
    assert [r.value for r in (*first, *rest)] == [b"0", b"1", b"2", b"3", b"4"]
    assert await log.read(open_log.other, 0, 5, 3) == []


async def test_topics_do_not_mix(open_log):
    log = await open_log()
    await log.append([record(open_log.one, "k", b"1"), record(open_log.other, "k", b"2")])
    assert await everything(log, open_log.one) == [("k", b"1")]
    assert await everything(log, open_log.other) == [("k", b"2")]


async def test_many_appends_at_once_are_all_there(open_log):
    log = await open_log()
    await asyncio.gather(*(log.append([record(open_log.one, str(i), str(i).encode())]) for i in range(500)))
    assert sorted(await everything(log, open_log.one)) == sorted(
        (str(i), str(i).encode()) for i in range(500)
    )


async def test_a_reopened_log_has_everything_and_goes_on(open_log):
    log = await open_log()
    [before] = await log.append([record(open_log.one, "k", b"1")])
    log = await open_log()
    [after] = await log.append([record(open_log.one, "k", b"2")])
    assert (after.partition, after.offset) == (before.partition, before.offset + 1)
    assert await everything(log, open_log.one) == [("k", b"1"), ("k", b"2")]


async def test_an_unknown_topic_is_an_error_that_leaves_the_log_working(open_log):
    log = await open_log()
    with pytest.raises(NexusError, match="no topic nowhere"):
        await log.append([record("nowhere", "k")])
    await log.append([record(open_log.one, "k")])


async def test_the_number_of_partitions_is_for_life(open_log):
    await open_log()
    with pytest.raises(ConfigError, match=f"has 4 partitions of {open_log.shown}, 5 are configured: keep 4"):
        await open_log(partitions=5)


async def test_large_values_and_odd_keys(open_log):
    log = await open_log()
    body = bytes(range(256)) * 4096
    await log.append([record(open_log.one, "ключ\x00'\"", body)])
    assert await everything(log, open_log.one) == [("ключ\x00'\"", body)]


async def test_an_append_across_topics_keeps_the_order_of_its_positions(open_log):
    log = await open_log()
    records = [record((open_log.one, open_log.other)[i % 2], str(i), str(i).encode()) for i in range(200)]
    positions = await log.append(records)
    assert [p.topic for p in positions] == [r.topic for r in records]
    for position, appended in zip(positions, records, strict=True):
        [read] = await log.read(*position, limit=1)
        assert (read.position, read.value) == (position, appended.value)
    assert await log.append([]) == []


async def test_appends_after_one_another_keep_the_order_of_a_key(open_log):
    log = await open_log()
    appends = [log.append([record(open_log.one, "k", str(i).encode())]) for i in range(300)]
    positions = [position for [position] in await asyncio.gather(*appends)]
    assert [p.offset for p in positions] == list(range(300))
    assert [value for _, value in await everything(log, open_log.one)] == [
        str(i).encode() for i in range(300)
    ]


async def test_many_read_at_once_whatever_was_read_before(open_log):
    log = await open_log()
    await log.append([record(open_log.one, str(i), str(i).encode()) for i in range(1000)])

    async def read(partition: int, chunk: int) -> list[bytes]:
        found: list[bytes] = []
        while records := await log.read(open_log.one, partition, len(found), chunk):
            found += [r.value for r in records]
        return found

    reads = await asyncio.gather(*(read(partition, chunk) for partition in range(4) for chunk in (1, 7, 100)))
    for partition in range(4):
        first, second, third = reads[partition * 3 : partition * 3 + 3]
        assert first == second == third
        assert len(first) == await log.end(open_log.one, partition)


async def test_a_read_sees_what_was_appended_since_the_one_before(open_log):
    log = await open_log()
    await log.append([record(open_log.other, "k", str(i).encode()) for i in range(5)])
    assert len(await log.read(open_log.other, 0, 0, 3)) == 3
    await log.append([record(open_log.other, "k", str(i).encode()) for i in range(5, 9)])
    assert [r.value for r in await log.read(open_log.other, 0, 3, 10)] == [b"3", b"4", b"5", b"6", b"7", b"8"]
    assert await log.read(open_log.other, 0, 9, 10) == []
    assert await log.read(open_log.other, 0, 20, 10) == []


async def test_timestamps_never_go_back(open_log):
    log = await open_log()
    for i in range(5):
        await log.append([record(open_log.other, str(i))])
    timestamps = [r.timestamp for r in await log.read(open_log.other, 0, 0, 10)]
    assert timestamps == sorted(timestamps)


async def test_a_check_appends_nothing(open_log: Opener) -> None:
    log = await open_log()
    await log.check()
    assert await everything(log, open_log.one) == []
    assert await log.end(open_log.one, 0) == 0
