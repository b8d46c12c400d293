"""Drivers that share a consumer group: partitions come and go, and nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from nexus.ports import Partition
from streams.processor import Delivery
from tests.contract.engines import ENGINES, PARTITIONS, Drivers

pytestmark = pytest.mark.parametrize("kind", ENGINES)


@pytest.fixture
async def drivers(kind: str, kafka_server: str) -> AsyncIterator[Drivers]:
    engine = ENGINES[kind](kafka_server)
    await engine.start()
    drivers = Drivers(engine, patience=60)
    yield drivers
    await drivers.close()


class Member:
    """Acknowledges at once, or holds what it gets."""

    def __init__(self, *, holds: bool = False) -> None:
        self.holds = holds
        self.mine: Collection[Partition] = ()
        self.got: list[Delivery] = []

    @property
    def values(self) -> set[int]:
        return {int(delivery.record.value) for delivery in self.got}

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        assert len(every) == PARTITIONS
        self.mine = set(mine)

    async def process(self, batch: Sequence[Delivery]) -> None:
        self.got += batch
        if not self.holds:
            for delivery in batch:
                delivery.ack()

    async def caught_up(self, until: datetime) -> None:
        pass


def share_out(*members: Member) -> bool:
    """Every partition is somebody's, and everybody has one."""
    owned = [at for member in members for at in member.mine]
    return len(owned) == len(set(owned)) == PARTITIONS and all(member.mine for member in members)


async def test_members_that_join_and_leave_share_the_work(drivers):
    first, second = Member(), Member()
    drivers.drive(first)
    await drivers.until(lambda: share_out(first))
    await drivers.engine.append(*range(100))
    await drivers.until(lambda: first.values == set(range(100)))
    task = drivers.drive(second)
    await drivers.until(lambda: share_out(first, second))
    await drivers.engine.append(*range(100, 300))
    await drivers.until(lambda: first.values | second.values == set(range(300)))
    assert second.values
    await drivers.stop(task)
    await drivers.until(lambda: share_out(first))
    await drivers.engine.append(*range(300, 400))
    await drivers.until(lambda: first.values >= set(range(300, 400)))
    await drivers.consumed()


async def test_a_handover_delivers_nothing_twice_that_was_acknowledged(drivers):
    first, second = Member(), Member()
    drivers.drive(first)
    await drivers.engine.append(*range(200))
    await drivers.until(lambda: len(first.got) == 200)
    drivers.drive(second)
    await drivers.until(lambda: share_out(first, second))
    await drivers.engine.append(*range(200, 300))
    await drivers.until(lambda: len(first.got) + len(second.got) >= 300)
    assert len(first.got) + len(second.got) == 300


async def test_an_acknowledgement_after_a_revocation_does_nothing(drivers):
    first, second = Member(holds=True), Member(holds=True)
    tasks = [drivers.drive(first)]
    await drivers.engine.append(*range(30))
    await drivers.until(lambda: len(first.got) == 30)
    before = list(first.got)
    tasks.append(drivers.drive(second))
    await drivers.until(lambda: len(first.got) + len(second.got) == 60)
    for delivery in before:
        delivery.ack()
    await drivers.stop(*tasks)
    assert await drivers.engine.committed() == [0] * PARTITIONS


async def test_a_member_that_has_no_room_does_not_hold_up_the_others(drivers):
    class Full(Member):
        """As a scheduler: waits for room for what is its own."""

        changed = asyncio.Event()

        async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
            await super().assigned(mine, every)
            self.changed.set()

        async def process(self, batch: Sequence[Delivery]) -> None:
            self.got += batch
            self.changed.clear()
            await self.changed.wait()

    first, second = Full(), Member()
    drivers.drive(first, batch=1)
    await drivers.engine.append(*range(30))
    await drivers.until(lambda: first.got)
    drivers.drive(second)
    await drivers.until(lambda: share_out(first, second))
    await drivers.until(lambda: second.got)


async def test_under_load_members_come_and_go_and_nothing_is_lost(drivers):
    steady = Member()
    drivers.drive(steady, batch=20)
    members = [steady]

    async def load() -> None:
        for start in range(0, 3000, 10):
            await drivers.engine.append(*range(start, start + 10))

    loading = asyncio.create_task(load())
    while not loading.done():
        passing = Member()
        members.append(passing)
        task = drivers.drive(passing, batch=20)
        await drivers.until(lambda m=passing: m.got or loading.done())
        await drivers.stop(task)
    await loading
    await drivers.consumed()
    assert set().union(*(member.values for member in members)) == set(range(3000))


async def test_killing_a_member_loses_nothing(drivers, kind, tmp_path):
    async def start(name: str) -> asyncio.subprocess.Process:
        engine = drivers.engine
        arguments = [kind, engine.connection["bootstrap_servers"], engine.topic, str(tmp_path / name)]
        return await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.contract.member", *arguments)

    def values(name: str) -> set[int]:
        file: Path = tmp_path / name
        return {int(line) for line in file.read_text().splitlines()} if file.exists() else set()

    names = ["victim", "survivor"]
    victim, survivor = [await start(name) for name in names]
    try:
        count = itertools.count()

        async def load() -> None:
            await drivers.engine.append(*itertools.islice(count, 10))

        async with asyncio.timeout(60):
            while not (values("victim") and values("survivor")):
                await load()
        for step in range(50):
            await load()
            if step == 25:
                victim.send_signal(signal.SIGKILL)
        await drivers.consumed()
        assert values("victim") | values("survivor") == set(range(next(count)))
        survivor.send_signal(signal.SIGTERM)
        assert await survivor.wait() == 0
    finally:
        for process in (victim, survivor):
            if process.returncode is None:
                process.kill()
            await process.wait()
