"""What the contract of drivers runs on: a log with one topic, and drivers that a test starts on it."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from nexus.domain.topics import NewRecord
from nexus.embedded.event_log import SqliteEventLog
from nexus.kafka.names import Names
from streams.drivers.embedded import EmbeddedDriver
from streams.drivers.faust import FaustDriver
from streams.drivers.kafka import KafkaDriver
from streams.processor import Driver, Processor
from tests.support.tasks import Condition, Tasks

__all__ = ["ENGINES", "PARTITIONS", "Drivers", "EmbeddedEngine", "Engine", "KafkaEngine"]

NAMES = Names("drivers-of-tests")
"""What topics are called on the brokers is not what processors hear."""
PARTITIONS = 3
SOON = 0.01
"""Seconds between two commits of the embedded driver: tests wait for them."""


class Engine(Protocol):
    """A topic with some partitions, and its drivers."""

    topic: str

    def clock(self) -> datetime: ...

    async def append(self, *values: int) -> None: ...

    async def ends(self) -> list[int]: ...

    async def committed(self, consumers: str = "tests") -> list[int]:
        """By partition; 0 where nothing is."""
        ...

    def driver(self, processor: Processor, consumers: str | None, batch: int) -> Driver: ...

    async def close(self) -> None: ...


class Drivers(Tasks):
    """Runs drivers of an engine, and waits for what they do."""

    def __init__(self, engine: Engine, patience: float) -> None:
        super().__init__(patience=patience, to_stop=patience)
        self.engine = engine

    def drive(
        self, processor: Processor, *, consumers: str | None = "tests", batch: int = 500
    ) -> asyncio.Task[None]:
        return self.spawn(self.engine.driver(processor, consumers, batch).run())

    async def until(self, condition: Condition) -> Any:
        return await self._until(condition, lambda: None)

    async def consumed(self, consumers: str = "tests") -> None:
        """Everything on the topic was acknowledged by a group whose drivers run."""

        async def there() -> bool:
            return await self.engine.committed(consumers) == await self.engine.ends()

        await self.until(there)

    async def close(self) -> None:
        await self.stop_all()
        await self.engine.close()


class EmbeddedEngine:
    topic = "drivers"

    def __init__(self, folder: Path) -> None:
        self._looks = itertools.count()
        self.log = SqliteEventLog(
            folder / "log.db", {self.topic: PARTITIONS}, lambda: self.clock().timestamp()
        )

    def clock(self) -> datetime:
        """No two moments are the same."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=next(self._looks))

    async def append(self, *values: int) -> None:
        for value in values:
            await self.log.append([NewRecord(self.topic, str(value), str(value).encode(), {})])

    async def ends(self) -> list[int]:
        return [await self.log.end(self.topic, number) for number in range(PARTITIONS)]

    async def committed(self, consumers: str = "tests") -> list[int]:
        return [await self.log.committed(consumers, self.topic, number) for number in range(PARTITIONS)]

    def driver(self, processor: Processor, consumers: str | None, batch: int) -> Driver:
        return EmbeddedDriver(
            self.log,
            [self.topic],
            processor,
            consumers=consumers,
            clock=self.clock,
            batch=batch,
            commit_every=SOON,
        )

    async def close(self) -> None:
        self.log.close()


class KafkaEngine:
    """A topic of its own on a broker, so that tests do not see each other."""

    def __init__(self, servers: str, topic: str = "") -> None:
        self.topic = topic or f"nexus.drivers-{uuid.uuid4().hex[:12]}"
        self.there = NAMES.there(self.topic)
        self.connection = {"bootstrap_servers": servers}
        self.partitions = [TopicPartition(self.there, number) for number in range(PARTITIONS)]

    async def start(self) -> None:
        self._admin = AIOKafkaAdminClient(**self.connection)
        self._producer = AIOKafkaProducer(**self.connection, acks="all")
        self._reader = AIOKafkaConsumer(**self.connection)
        await self._admin.start()
        configs = {"message.timestamp.type": "LogAppendTime"}
        await self._admin.create_topics([NewTopic(self.there, PARTITIONS, 1, topic_configs=configs)])
        await self._producer.start()
        await self._reader.start()

    async def close(self) -> None:
        await self._producer.stop()
        await self._reader.stop()
        await self._admin.delete_topics([self.there])
        await self._admin.close()

    def clock(self) -> datetime:
        return datetime.now(UTC)

    async def append(self, *values: int) -> None:
        sent = [
            await self._producer.send(self.there, key=str(v).encode(), value=str(v).encode()) for v in values
        ]
        await asyncio.gather(*sent)

    async def ends(self) -> list[int]:
        ends = await self._reader.end_offsets(self.partitions)
        return [ends[at] for at in self.partitions]

    def group(self, consumers: str) -> str:
        return f"{self.topic}-{consumers}"

    async def committed(self, consumers: str = "tests") -> list[int]:
        found = await self._admin.list_consumer_group_offsets(self.group(consumers))
        return [found[at].offset if at in found else 0 for at in self.partitions]

    def driver(self, processor: Processor, consumers: str | None, batch: int) -> Driver:
        return KafkaDriver(
            self.connection,
            [self.topic],
            processor,
            consumers=consumers and self.group(consumers),
            clock=self.clock,
            batch=batch,
            prompt=True,
            names=NAMES,
        )


class FaustEngine(KafkaEngine):
    def driver(self, processor: Processor, consumers: str | None, batch: int) -> Driver:
        assert consumers, "an app is always a member of a group"
        return FaustDriver(
            self.connection,
            [self.topic],
            processor,
            consumers=self.group(consumers),
            clock=self.clock,
            batch=batch,
            prompt=True,
            names=NAMES,
        )


ENGINES = {"kafka": KafkaEngine, "faust": FaustEngine}
