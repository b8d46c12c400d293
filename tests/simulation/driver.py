"""The driver for Kafka on a consumer in memory, which behaves as aiokafka's does across rebalances."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError

from nexus.domain.errors import Unavailable
from nexus.ports import Partition, Record
from streams.drivers.kafka import KafkaDriver
from streams.processor import Clock, Processor
from tests.simulation.chance import Chance
from tests.simulation.faults import Faults
from tests.simulation.groups import Group, Groups, Member
from tests.simulation.log import Broker
from tests.simulation.loop import current_process
from tests.simulation.network import Network

__all__ = ["Brokers", "SimulatedDriver"]


class Brokers(NamedTuple):
    """What a consumer works with."""

    log: Broker
    groups: Groups
    network: Network
    faults: Faults
    chance: Chance


class SimulatedDriver(KafkaDriver):
    def __init__(
        self,
        brokers: Brokers,
        topics: Sequence[str],
        processor: Processor,
        *,
        consumers: str | None,
        clock: Clock,
        batch: int,
        prompt: bool,
    ) -> None:
        super().__init__({}, topics, processor, consumers=consumers, clock=clock, batch=batch, prompt=prompt)
        self._brokers = brokers

    def _consumer(self) -> Any:
        group = self._brokers.groups.named(self._consumers) if self._consumers else None
        return _Consumer(self._brokers, group)


class _Fetched(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


class _Consumer:
    def __init__(self, brokers: Brokers, group: Group | None) -> None:
        self._log, _, self._network, self._faults, self._chance = brokers
        self._group = group
        self._topics: Sequence[str] = ()
        self._listener: Any = None
        self._member: Member | None = None
        self._mine: list[Partition] = []
        self._positions: dict[Partition, int] = {}
        self._arrived = asyncio.Event()
        self._taking_part: asyncio.Task[None] | None = None

    def subscribe(self, topics: Sequence[str], *, listener: object) -> None:
        self._topics = topics
        self._listener = listener

    def unsubscribe(self) -> None:
        self._listener = None

    def assign(self, partitions: Collection[tuple[str, int]]) -> None:
        self._mine = [Partition(*at) for at in partitions]
        self._taking_part = asyncio.create_task(self._begin_at_the_end())

    async def start(self) -> None:
        await self._reach(lambda: None)
        self._log.arrivals[self] = self._arrived.set
        if self._group:
            self._member = Member(current_process(), self._topics)
            self._taking_part = asyncio.create_task(self._take_part(self._group, self._member))

    async def stop(self) -> None:
        self._log.arrivals.pop(self, None)
        if self._taking_part:
            self._taking_part.cancel()
            with suppress(asyncio.CancelledError):
                await self._taking_part
        if self._group and self._member:
            if self._member.heard:
                self._group.leave(self._member)
            self._member.stopped = True

    async def _take_part(self, group: Group, member: Member) -> None:
        while True:
            await self._listener.on_partitions_revoked(self._mine)
            while not member.heard:
                await asyncio.sleep(1.0)
            mine = await group.join(member)
            if mine is None:
                continue
            while True:
                with suppress(KafkaError):
                    committed = await self._reach(lambda: dict(group.committed))
                    break
            if member.told.is_set():
                continue
            self._mine = mine
            self._positions = {at: committed.get(at, 0) for at in mine}
            await self._listener.on_partitions_assigned(mine)
            self._arrived.set()
            await member.told.wait()
            self._positions = {}

    async def _begin_at_the_end(self) -> None:
        while not self._positions:
            with suppress(KafkaError):
                self._positions = await self._reach(
                    lambda: {at: len(self._log.partitions[at]) for at in self._mine}
                )

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Mapping[Any, Sequence[_Fetched]]:
        """What there is of some partitions, in the order of each: others may be slower."""
        if self._faults.at_a_call(["duplicate"]):
            self._network.say(current_process(), "begins anew from what is committed")
            raise KafkaConnectionError("the consumer is broken")
        self._arrived.clear()
        fetched = dict(self._fetch(max_records))
        if not fetched:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_ms / 1000):
                    await self._arrived.wait()
            fetched = dict(self._fetch(max_records))
        return fetched

    def _fetch(self, limit: int) -> Iterator[tuple[Partition, Sequence[_Fetched]]]:
        for at in [*self._positions]:
            start = self._positions[at]
            lying = self._log.partitions[at]
            if limit > 0 and start < len(lying):
                if self._faults.on and self._chance.one_in(4):
                    self._arrived.set()  # it comes with another fetch
                    continue
                some = lying[start : start + limit]
                limit -= len(some)
                self._positions[at] = start + len(some)
                yield at, [_as_fetched(record) for record in some]

    def assignment(self) -> Collection[Partition]:
        return list(self._mine)

    def partitions_for_topic(self, topic: str) -> Collection[int] | None:
        return range(self._log.counts[topic])

    async def position(self, at: TopicPartition) -> int:
        try:
            return self._positions[Partition(*at)]
        except KeyError:
            raise IllegalStateError(f"{at} is not assigned") from None

    async def end_offsets(self, of: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        return await self._reach(lambda: {at: len(self._log.partitions[Partition(*at)]) for at in of})

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        group, member = self._group, self._member
        assert group
        assert member
        generation = member.generation
        moved = {Partition(*at): offset for at, offset in offsets.items()}
        try:
            await self._network.change(
                group.name, "", lambda: group.commit(member, generation, moved), lane=self
            )
        except Unavailable as error:
            raise KafkaConnectionError(str(error)) from None

    async def _reach(self, effect: Any) -> Any:
        try:
            return await self._network.read("log", effect)
        except Unavailable as error:
            raise KafkaConnectionError(str(error)) from None


def _as_fetched(record: Record) -> _Fetched:
    topic, partition, offset = record.position
    headers = [(name, value.encode()) for name, value in record.headers.items()]
    return _Fetched(
        topic, partition, offset, round(record.timestamp * 1000), record.key.encode(), record.value, headers
    )
