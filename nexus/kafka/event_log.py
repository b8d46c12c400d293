"""The event log on Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from nexus.config import Kafka
from nexus.domain.errors import ConfigError, Unavailable
from nexus.domain.topics import NewRecord
from nexus.kafka.appending import Appender
from nexus.kafka.client import connection
from nexus.kafka.names import Names
from nexus.kafka.offset_reader import Reader
from nexus.ports import Position, Record

__all__ = ["KafkaEventLog"]


class KafkaEventLog:
    """`fixed` are topics whose number of partitions was chosen for life, as that of `nexus.runs`.

    Start it before use, from the loop that uses it. It finds its brokers again by itself.
    """

    def __init__(self, kafka: Kafka, fixed: Mapping[str, int]) -> None:
        self._names = Names(kafka.prefix)
        self._usual = self._names == Names()
        self._fixed = {self._names.there(topic): partitions for topic, partitions in fixed.items()}
        self._needed = kafka.min_insync_replicas
        arguments = connection(kafka)
        self._appender = Appender(arguments, self._fixed)
        self._reader = Reader(arguments)

    async def start(self) -> None:
        """Raises Unavailable, or ConfigError where a topic of `fixed` has another number of partitions."""
        try:
            await self._check()
            await self._appender.start()
        except BaseException:
            await self._reader.close()
            raise

    async def close(self) -> None:
        """What was to be appended is, or its caller has been told otherwise, when this returns."""
        await self._appender.close()
        await self._reader.close()

    async def append(self, records: Sequence[NewRecord]) -> list[Position]:
        if self._usual:
            return await self._appender.append(records)
        there = [msgspec.structs.replace(record, topic=self._names.there(record.topic)) for record in records]
        return [self._here(position) for position in await self._appender.append(there)]

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        records = await self._reader.read(self._names.there(topic), partition, offset, limit)
        if self._usual:
            return records
        return [record._replace(position=self._here(record.position)) for record in records]

    async def topics(self) -> Mapping[str, int]:
        """Those of this installation, and with the usual prefix every other too."""
        there = await self._reader.topics()
        if self._usual:
            return there
        return {self._names.here(name): count for name, count in there.items() if self._names.ours(name)}

    async def end(self, topic: str, partition: int) -> int:
        return await self._reader.end(self._names.there(topic), partition)

    async def check(self) -> None:
        """Asks the brokers whether the topics of this installation have the replicas that an append waits for."""
        for each in await self._reader.in_sync():
            needed = min(self._needed, each.replicas)
            if self._names.ours(each.topic) and each.there < needed:
                raise Unavailable(
                    f"{each.topic} [{each.partition}] has {each.there} replicas in sync and needs {needed}: "
                    "see whether the brokers run"
                )

    def _here(self, position: Position) -> Position:
        return position._replace(topic=self._names.here(position.topic))

    async def _check(self) -> None:
        there = await self._reader.topics()
        for topic, partitions in self._fixed.items():
            if topic not in there:
                raise ConfigError(f"Kafka has no topic {topic}: make it with `nexus topics`")
            if there[topic] != partitions:
                raise ConfigError(
                    f"Kafka has {there[topic]} partitions of {topic}, {partitions} are configured: keep {there[topic]}"
                )
