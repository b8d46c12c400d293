"""The event logs that the contract holds for, each with topics of its own that can be opened again and again."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from nexus.config import Kafka
from nexus.embedded.event_log import SqliteEventLog
from nexus.kafka.admin import Admin, Topic
from nexus.kafka.client import connection
from nexus.kafka.event_log import KafkaEventLog
from nexus.kafka.names import Names
from nexus.ports import EventLog
from tests.contract.at_once import AtOnce
from tests.simulation.log import Broker, SimulatedLog

__all__ = ["EmbeddedLogs", "KafkaLogs", "Logs", "SimulatedLogs", "kafka_topics"]


class Logs(Protocol):
    """A log that restarts: `open` closes what was open, and opens it with these numbers of partitions."""

    async def open(self, topics: Mapping[str, int]) -> EventLog: ...

    async def close(self) -> None: ...


class EmbeddedLogs:
    def __init__(self, folder: Path) -> None:
        self._file = folder / "log.db"
        self._ticks = itertools.count(1.0)
        self._open: SqliteEventLog | None = None

    async def open(self, topics: Mapping[str, int]) -> EventLog:
        await self.close()
        self._open = SqliteEventLog(self._file, topics, lambda: next(self._ticks))
        return self._open

    async def close(self) -> None:
        if self._open is not None:
            self._open.close()


class SimulatedLogs:
    def __init__(self) -> None:
        ticks = itertools.count(1.0)
        self._broker = Broker(lambda _: next(ticks))

    async def open(self, topics: Mapping[str, int]) -> EventLog:
        self._broker.add(topics)
        return SimulatedLog(self._broker, AtOnce())

    async def close(self) -> None:
        pass


class KafkaLogs:
    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._open: KafkaEventLog | None = None

    async def open(self, topics: Mapping[str, int]) -> EventLog:
        await self.close()
        log = KafkaEventLog(self._kafka, topics)
        await log.start()
        self._open = log
        return log

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()


@asynccontextmanager
async def kafka_topics(kafka: Kafka, partitions: Sequence[int]) -> AsyncIterator[list[str]]:
    """Topics of their own, so that tests do not see each other."""
    settings = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "4194304"}
    names = [f"nexus.test.{uuid.uuid4().hex[:12]}" for _ in partitions]
    there = [Names(kafka.prefix).there(name) for name in names]
    topics = [Topic(name, count, 1, settings) for name, count in zip(there, partitions, strict=True)]
    async with Admin(connection(kafka)) as admin:
        await admin.create(topics)
        try:
            yield names
        finally:
            await admin.delete(there)
