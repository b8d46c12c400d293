"""The contract of drivers: what is delivered, what is committed, and how far they say that they have come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from nexus.domain.errors import Unavailable
from nexus.ports import Position
from streams.processor import Delivery
from tests.contract.engines import ENGINES, PARTITIONS, Drivers, EmbeddedEngine
from tests.support.servers import on_server


@pytest.fixture(params=["embedded", *on_server("kafka_server", *ENGINES)])
async def drivers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Drivers]:
    if request.param == "embedded":
        drivers = Drivers(EmbeddedEngine(tmp_path), patience=10)
    else:
        engine = ENGINES[request.param](request.getfixturevalue("kafka_server"))
        await engine.start()
        drivers = Drivers(engine, patience=30)
    yield drivers
    await drivers.close()


class Holding:
    """Keeps what it gets and acknowledges nothing by itself."""

    def __init__(self) -> None:
        self.held: list[Delivery] = []
        self.reached: datetime | None = None

    @property
    def positions(self) -> list[Position]:
        return [delivery.record.position for delivery in self.held]

    @property
    def values(self) -> list[bytes]:
        return [delivery.record.value for delivery in self.held]

    async def assigned(self, mine, every) -> None:
        assert sorted(mine) == sorted(every)

    async def process(self, batch: Sequence[Delivery]) -> None:
        self.held += batch

    async def caught_up(self, until: datetime) -> None:
        self.reached = until


def first_held(positions: Sequence[Position], done: set[Position], ends: Sequence[int]) -> list[int]:
    """The offset of each partition's first record that is not done, or its end."""
    return [
        min((at.offset for at in positions if at.partition == partition and at not in done), default=end)
        for partition, end in enumerate(ends)
    ]


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_committed_never_passes_a_held_record(drivers, seed):
    chance = random.Random(seed)
    await drivers.engine.append(*range(40))
    ends = await drivers.engine.ends()
    committed = [0] * PARTITIONS
    while committed != ends:
        processor = Holding()
        driver = drivers.drive(processor, batch=chance.choice([1, 3, 500]))
        # A restart delivers all that was not committed, whether or not it was acknowledged, and nothing else.
        expected = [
            (drivers.engine.topic, partition, offset)
            for partition, end in enumerate(ends)
            for offset in range(committed[partition], end)
        ]
        await drivers.until(lambda p=processor, e=expected: len(p.held) >= len(e))
        assert sorted(processor.positions) == expected
        done = chance.sample(
            processor.held, chance.randint(len(processor.held) // 2 + 1, len(processor.held))
        )
        for delivery in done:
            delivery.ack()
        await drivers.stop(driver)
        done_positions = {delivery.record.position for delivery in done}
        committed = first_held(processor.positions, done_positions, ends)
        assert await drivers.engine.committed("tests") == committed


async def test_a_single_record_that_is_held_holds_the_offset(drivers):
    await drivers.engine.append(*range(30))
    processor = Holding()
    driver = drivers.drive(processor)
    await drivers.until(lambda: len(processor.held) == 30)
    first = {delivery.record.position.partition: delivery for delivery in reversed(processor.held)}
    for delivery in processor.held:
        if delivery not in first.values():
            delivery.ack()
    await drivers.stop(driver)
    assert await drivers.engine.committed("tests") == [0] * PARTITIONS


async def test_acknowledging_twice_is_acknowledging(drivers):
    await drivers.engine.append(*range(20))
    processor = Holding()
    driver = drivers.drive(processor)
    await drivers.until(lambda: len(processor.held) == 20)
    first, *others = processor.held
    for _ in range(2):
        first.ack()
    for delivery in reversed(others):
        delivery.ack()
    first.ack()
    await drivers.stop(driver)
    assert await drivers.engine.committed("tests") == await drivers.engine.ends()


async def test_offsets_are_committed_while_it_runs(drivers):
    await drivers.engine.append(*range(5))
    processor = Holding()
    drivers.drive(processor)
    await drivers.until(lambda: len(processor.held) == 5)
    for delivery in processor.held:
        delivery.ack()
    await drivers.consumed("tests")


async def test_a_batch_has_so_many_of_each_partition_and_order_is_kept(drivers):
    batches = []

    class Recording(Holding):
        async def process(self, batch: Sequence[Delivery]) -> None:
            batches.append([delivery.record.position for delivery in batch])
            await super().process(batch)

    await drivers.engine.append(*range(40))
    processor = Recording()
    drivers.drive(processor, batch=4)
    await drivers.until(lambda: len(processor.held) == 40)
    for partition in range(PARTITIONS):
        offsets = [at.offset for at in processor.positions if at.partition == partition]
        assert offsets == list(range(len(offsets)))
        assert all(sum(at.partition == partition for at in batch) <= 4 for batch in batches)


async def test_what_fails_for_want_of_a_server_is_delivered_again(drivers):
    batches = []

    class Failing(Holding):
        async def process(self, batch: Sequence[Delivery]) -> None:
            batches.append(batch)
            if len(batches) < 2:
                raise Unavailable("the store is away")
            await super().process(batch)

    await drivers.engine.append(*range(10))
    processor = Failing()
    driver = drivers.drive(processor)
    await drivers.until(lambda: len(processor.held) == 10)
    assert batches[0] == batches[1]
    await drivers.engine.append(10)
    await drivers.until(lambda: len(processor.held) == 11)
    assert len(set(processor.positions)) == 11
    await drivers.stop(driver)


async def test_it_does_not_say_that_it_came_far_while_a_batch_fails(drivers):
    class Failing(Holding):
        failures = 0
        taken = 0.0

        async def process(self, batch: Sequence[Delivery]) -> None:
            self.failures += 1
            self.taken = batch[0].record.timestamp
            raise Unavailable("the store is away")

    await drivers.engine.append(1)
    processor = Failing()
    drivers.drive(processor)
    await drivers.until(lambda: processor.failures == 2)
    assert processor.reached is None or processor.reached.timestamp() <= processor.taken


async def test_any_other_error_stops_it_and_commits_nothing(drivers):
    class Broken(Holding):
        async def process(self, batch: Sequence[Delivery]) -> None:
            raise ValueError("a bug")

    await drivers.engine.append(1)
    driver = drivers.drive(Broken())
    with pytest.raises(ValueError, match="a bug"):
        await driver
    with pytest.raises(ValueError, match="a bug"):
        await drivers.stop(driver)
    assert await drivers.engine.committed("tests") == [0] * PARTITIONS


@pytest.mark.parametrize("drivers", ["embedded", *on_server("kafka_server", "kafka")], indirect=True)
async def test_without_a_group_it_begins_at_the_end(drivers):
    await drivers.engine.append(1, 2, 3)
    for value in (4, 5):
        processor = Holding()
        driver = drivers.drive(processor, consumers=None)
        await drivers.until(lambda p=processor: p.reached)
        await drivers.engine.append(value)
        await drivers.until(lambda p=processor: p.held)
        assert processor.values == [str(value).encode()]
        processor.held[0].ack()
        await drivers.stop(driver)


async def test_groups_do_not_share_what_they_have_read(drivers):
    await drivers.engine.append(*range(6))
    for consumers in ("one", "other"):
        processor = Holding()
        driver = drivers.drive(processor, consumers=consumers)
        await drivers.until(lambda p=processor: len(p.held) == 6)
        for delivery in processor.held:
            delivery.ack()
        await drivers.stop(driver)
        assert await drivers.engine.committed(consumers) == await drivers.engine.ends()


@pytest.mark.parametrize("batch", [2, 500])
async def test_it_never_says_too_early_that_it_has_caught_up(drivers, batch):
    """Whatever was appended before `until` was delivered before `caught_up` came."""
    appended: dict[bytes, datetime] = {}
    early = []

    class Slow(Holding):
        async def process(self, batch: Sequence[Delivery]) -> None:
            await asyncio.sleep(0.001)
            await super().process(batch)

        async def caught_up(self, until: datetime) -> None:
            assert self.reached is None or batch == 2 or until > self.reached
            await super().caught_up(until)
            delivered = set(self.values)
            early.extend(value for value, at in appended.items() if at < until and value not in delivered)

    async def append_some(writer: int) -> None:
        chance = random.Random(writer)
        for number in range(30):
            value = writer * 100 + number
            await drivers.engine.append(value)
            appended[str(value).encode()] = drivers.engine.clock()
            await asyncio.sleep(chance.choice([0, 0, 0, 0.001, 0.03]))

    processor = Slow()
    drivers.drive(processor, batch=batch)
    await asyncio.gather(*(append_some(writer) for writer in range(4)))
    last = drivers.engine.clock()
    await drivers.until(lambda: processor.reached and processor.reached >= last)
    assert len(processor.held) == 120
    assert early == []
