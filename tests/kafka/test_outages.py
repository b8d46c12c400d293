"""What becomes of appends while a broker is away: told for certain, or that it is unknown, and never wrongly."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

import pytest

from nexus.config import Kafka
from nexus.domain.errors import OutcomeUnknown, Unavailable
from nexus.domain.topics import NewRecord
from nexus.kafka.event_log import KafkaEventLog
from nexus.kafka.library import InSync

PROMISED = 13
"""Seconds within which every append is answered, on a slow machine."""


def record(topic: str, number: int) -> NewRecord:
    return NewRecord(topic, str(number % 50), str(number).encode(), {})


async def values(log: KafkaEventLog, topic: str) -> list[int]:
    return [int(r.value) for partition in range(4) for r in await log.read(topic, partition, 0, 1_000_000)]


class Load:
    """Appends one number after the other, in many tasks, and remembers what it was told of each."""

    def __init__(self, log: KafkaEventLog, topic: str) -> None:
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.unknown: set[int] = set()
        self.longest = 0.0
        self._numbers = itertools.count()
        self._log = log
        self._topic = topic
        self._tasks = [asyncio.create_task(self._append()) for _ in range(100)]

    async def _append(self) -> None:
        for number in self._numbers:
            begun = time.monotonic()
            try:
                await self._log.append([record(self._topic, number)])
            except OutcomeUnknown:
                self.unknown.add(number)
            except Unavailable:
                self.refused.add(number)
            else:
                self.acknowledged.add(number)
            self.longest = max(self.longest, time.monotonic() - begun)

    async def until(self, acknowledged: int) -> None:
        async with asyncio.timeout(60):
            while len(self.acknowledged) < acknowledged:
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


@pytest.mark.parametrize("away", [0, PROMISED])
async def test_a_killed_broker_loses_nothing_and_doubles_nothing(broker, log, topic, away):
    load = Load(log, topic)
    await load.until(acknowledged=2000)
    await asyncio.to_thread(broker.kill)
    before = len(load.acknowledged)
    await asyncio.sleep(away)
    await asyncio.to_thread(broker.start)
    await load.until(acknowledged=before + 2000)
    await load.stop()
    found = Counter(await values(log, topic))
    assert load.acknowledged <= found.keys()
    assert not load.refused & found.keys()
    assert set(found.values()) == {1}
    assert load.longest < PROMISED
    assert load.refused or load.unknown or not away


async def test_without_a_broker_it_is_certain_that_nothing_happened(broker, log, topic):
    await log.append([record(topic, 0)])
    await asyncio.to_thread(broker.kill)
    with pytest.raises(Unavailable, match="got nothing") as told:
        await log.append([record(topic, number) for number in range(1, 20)])
    assert not isinstance(told.value, OutcomeUnknown)
    with pytest.raises(Unavailable, match=broker.address):
        await log.read(topic, 0, 0, 10)
    await asyncio.to_thread(broker.start)
    await log.append([record(topic, 20)])
    assert sorted(await values(log, topic)) == [0, 20]


async def test_a_broker_that_stands_still_leaves_the_outcome_unknown(broker, log, topic):
    await log.append([record(topic, 0)])
    broker.freeze()
    try:
        with pytest.raises(OutcomeUnknown):
            await log.append([record(topic, 1)])
    finally:
        broker.thaw()
    await log.append([record(topic, 2)])
    found = await values(log, topic)
    assert sorted(found) in ([0, 2], [0, 1, 2])


async def test_a_cancelled_append_harms_no_other(log, topic):
    appends = [asyncio.create_task(log.append([record(topic, number)])) for number in range(100)]
    await asyncio.sleep(0)
    for append in appends[::2]:
        append.cancel()
    await asyncio.wait(appends)
    assert all(append.done() and not append.cancelled() for append in appends[1::2])
    await log.append([record(topic, 100)])
    assert {*range(1, 100, 2), 100} <= set(await values(log, topic))


async def test_closing_waits_for_what_was_to_be_appended(settings, topic, log):
    closing = KafkaEventLog(settings, {topic: 4})
    await closing.start()
    appends = [asyncio.create_task(closing.append([record(topic, number)])) for number in range(100)]
    await asyncio.sleep(0)
    await closing.close()
    await asyncio.gather(*appends)
    assert sorted(await values(log, topic)) == list(range(100))
    with pytest.raises(Unavailable, match="not open"):
        await closing.append([record(topic, 100)])


async def test_where_nobody_listens(broker):
    await asyncio.to_thread(broker.kill)
    log = KafkaEventLog(Kafka(servers=broker.address), {})
    with pytest.raises(Unavailable, match=broker.address):
        await log.start()
    await log.close()


async def test_a_check_tells_of_a_broker_that_is_away_and_of_its_return(broker, log):
    await log.check()
    await asyncio.to_thread(broker.kill)
    with pytest.raises(Unavailable, match="see whether its brokers run"):
        await log.check()
    await asyncio.to_thread(broker.start)
    async with asyncio.timeout(60):
        while True:
            try:
                await log.check()
            except Unavailable:
                continue
            break


async def test_a_check_tells_of_replicas_that_are_missing(settings, topic, log, monkeypatch):
    """Which appends wait for, though every partition has a leader."""

    async def one_of_three() -> list[InSync]:
        return [InSync(topic, 0, 3, 3), InSync(topic, 1, 1, 3), InSync("others", 0, 0, 3)]

    monkeypatch.setattr(log._reader, "in_sync", one_of_three)
    with pytest.raises(Unavailable, match=r"\[1\] has 1 replicas in sync and needs 2"):
        await log.check()
