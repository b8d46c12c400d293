"""What the log on Kafka does beyond the contract of event logs."""

from __future__ import annotations

import asyncio
import os

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from msgspec.structs import replace

from nexus.config import Kafka
from nexus.domain.errors import ConfigError, InvalidInput, NexusError
from nexus.domain.topics import NewRecord
from nexus.kafka.event_log import KafkaEventLog
from nexus.kafka.library import partition_of
from tests.contract.event_logs import kafka_topics

# Of Kafka's own test of its producer.
HASHES = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "digest"), HASHES.items())
def test_partitions_are_those_of_other_producers(key, digest):
    assert partition_of(key, 2**31) == digest & 0x7FFFFFFF
    assert partition_of(key, 32) == (digest & 0x7FFFFFFF) % 32


async def test_a_record_that_is_too_large_is_refused_and_no_other(log, topic):
    small = [log.append([NewRecord(topic, str(number), b"{}", {})]) for number in range(100)]
    for size in (5 * 1024 * 1024, 20 * 1024 * 1024):
        with pytest.raises(InvalidInput, match=topic):
            await log.append([NewRecord(topic, "k", os.urandom(size), {})])
    await asyncio.gather(*small)
    await log.append([NewRecord(topic, "k", b"{}", {})])


async def test_topics_that_were_made_later_are_found(log, settings):
    async with kafka_topics(settings, [2]) as [later]:
        [position] = await log.append([NewRecord(later, "k", b"{}", {})])
        assert position.topic == later
        [record] = await log.read(*position, limit=1)
        assert record.key == "k"


async def test_a_missing_topic_stops_the_start(settings):
    log = KafkaEventLog(settings, {"nexus.no-such-topic": 4})
    with pytest.raises(ConfigError, match=r"nexus\.no-such-topic.*`nexus topics`"):
        await log.start()


async def test_what_is_no_longer_retained_is_passed_over(log, settings):
    async with kafka_topics(settings, [1]) as [topic]:
        await log.append([NewRecord(topic, "k", str(number).encode(), {}) for number in range(10)])
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.servers)
        await admin.start()
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=7)})
        await admin.close()
        assert [r.value for r in await log.read(topic, 0, 0, 2)] == [b"7", b"8"]
        assert [r.value for r in await log.read(topic, 0, 9, 2)] == [b"9"]


async def test_installations_with_a_prefix_each_see_their_own(settings):
    one, other = (replace(settings, prefix=prefix) for prefix in ("one", "other"))
    async with kafka_topics(one, [1]) as [mine], kafka_topics(other, [1]) as [theirs]:
        log = KafkaEventLog(one, {mine: 1})
        await log.start()
        assert await log.topics() == {mine: 1}
        [position] = await log.append([NewRecord(mine, "k", b"{}", {})])
        assert position.topic == mine
        with pytest.raises(NexusError, match=theirs.replace("nexus", "one", 1)):
            await log.append([NewRecord(theirs, "k", b"{}", {})])
        await log.close()


async def test_there_must_be_a_server():
    with pytest.raises(ConfigError, match=r"kafka\.servers"):
        KafkaEventLog(Kafka(), {})
