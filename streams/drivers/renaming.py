"""A client of Kafka whose topics are called on the brokers as Nexus calls them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aiokafka import TopicPartition  # type: ignore[import-untyped]  # no py.typed

from nexus.kafka.names import Names
from nexus.ports import Partition
from streams.drivers.membership import Consumer

__all__ = ["Renaming"]


class Renaming:
    """Asks the consumer in the brokers' names, and answers in those of Nexus."""

    def __init__(self, consumer: Consumer, names: Names) -> None:
        self._consumer = consumer
        self._names = names

    def assignment(self) -> Collection[tuple[str, int]]:
        return [self._here(*at) for at in self._consumer.assignment()]

    def partitions_for_topic(self, topic: str) -> Collection[int] | None:
        return self._consumer.partitions_for_topic(self._names.there(topic))

    async def position(self, at: TopicPartition) -> int:
        return await self._consumer.position(self._there(*at))

    async def end_offsets(self, of: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        ends = await self._consumer.end_offsets([self._there(*at) for at in of])
        return {self._here(*at): end for at, end in ends.items()}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        await self._consumer.commit({self._there(*at): offset for at, offset in offsets.items()})

    def _here(self, topic: str, number: int) -> Partition:
        return Partition(self._names.here(topic), number)

    def _there(self, topic: str, number: int) -> TopicPartition:
        return TopicPartition(self._names.there(topic), number)
