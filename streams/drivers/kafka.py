"""The driver for Kafka: a batch loop over a consumer of aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol, cast

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # no py.typed
from aiokafka.abc import ConsumerRebalanceListener  # type: ignore[import-untyped]  # no py.typed
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # no py.typed

from nexus.backoff import Backoff
from nexus.kafka.names import Names
from nexus.ports import Position, Record
from streams.drivers.liveness import Liveness
from streams.drivers.membership import ALLOWED_SKEW, TICK, TIMEOUT, Consumer, Membership
from streams.drivers.renaming import Renaming
from streams.processor import Clock, Processor

__all__ = ["KafkaDriver"]

_log = structlog.get_logger(__name__)

_REBALANCE = 30.0
"""Seconds that the group waits for a member to come back to it; a dead one is missed much sooner, by its heartbeats."""
_NEVER = 2**31 - 1
_USUAL = Names()


class _Fetched(Protocol):
    """A record as aiokafka gives it; `timestamp` in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class _Consumer(Consumer, Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(self, topics: Collection[str], *, listener: object) -> None: ...
    def unsubscribe(self) -> None: ...
    def assign(self, partitions: Collection[TopicPartition]) -> None: ...
    async def getmany(
        self, *, timeout_ms: int, max_records: int
    ) -> Mapping[TopicPartition, Sequence[_Fetched]]: ...


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # its base has no types
    """aiokafka gives out no more records, then says what was revoked, and then gives out those of what was assigned."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    async def on_partitions_revoked(self, revoked: object) -> None:
        await self._membership.revoked()

    async def on_partitions_assigned(self, assigned: object) -> None:
        self._membership.assigned()


class KafkaDriver:
    """Feeds a processor as a member of the consumer group `consumers`; with no group, from the end of the log on.

    `connection` holds the arguments of aiokafka's clients that say where the brokers are and who asks. A batch holds
    at most `batch` records. A member is never expelled for being long at a batch, because a scheduler is whenever its
    window is full: that the process lives is told by heartbeats, that it gets on by `problem`. `names` are those that the
    topics have on the brokers.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        topics: Sequence[str],
        processor: Processor,
        *,
        consumers: str | None,
        clock: Clock,
        batch: int = 2000,
        skew: timedelta = ALLOWED_SKEW,
        names: Names = _USUAL,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._processor = processor
        self._consumers = consumers
        self._clock = clock
        self._batch = batch
        self._skew = skew
        self._names = names
        self._progress = Liveness(consumers, clock)

    def problem(self) -> str | None:
        return self._progress.problem()

    async def run(self) -> None:
        """Until cancelled; then what was acknowledged is committed."""
        backoff = Backoff()
        while True:
            try:
                await self._consume()
            except KafkaError as error:
                # Some of its errors leave a consumer that never works again: the next one starts from what is committed.
                _log.warning("consumer_starts_anew", consumers=self._consumers, problem=str(error))
                await backoff.pause()

    async def _consume(self) -> None:
        """For as long as one consumer works."""
        consumer = self._consumer()
        membership = Membership(
            Renaming(consumer, self._names),
            self._topics,
            self._processor,
            self._consumers,
            self._progress,
            self._skew,
        )
        consumer.subscribe(
            [self._names.there(topic) for topic in self._topics], listener=_Listener(membership)
        )
        background: list[asyncio.Task[None]] = []
        try:
            await consumer.start()
            if self._consumers is None:
                self._take_all(consumer, membership)
            background += [
                asyncio.create_task(membership.commit_regularly()),
                asyncio.create_task(membership.look_ahead(self._clock)),
            ]
            while True:
                fetched = await consumer.getmany(timeout_ms=int(TICK * 1000), max_records=self._batch)
                await membership.hand_over([self._record(one) for some in fetched.values() for one in some])
        finally:
            for task in background:
                task.cancel()
            for last in (membership.commit, consumer.stop):
                with suppress(TimeoutError, KafkaError):
                    async with asyncio.timeout(TIMEOUT):
                        await last()

    def _consumer(self) -> _Consumer:
        consumer = AIOKafkaConsumer(
            group_id=self._consumers,
            auto_offset_reset="earliest" if self._consumers else "latest",
            enable_auto_commit=False,
            # A broker answers the questions of a connection in turn: where the log ends is known after the fetch.
            fetch_max_wait_ms=int(TICK * 1000),
            heartbeat_interval_ms=1000,  # a member hears of a rebalance by its heartbeat
            max_poll_interval_ms=_NEVER,
            rebalance_timeout_ms=int(_REBALANCE * 1000),
            **self._connection,
        )
        return cast("_Consumer", consumer)

    def _take_all(self, consumer: _Consumer, membership: Membership) -> None:
        """Without a group. A mere subscription would start from the end anew whenever a topic looks different."""
        every = [TopicPartition(self._names.there(topic), number) for topic, number in membership.every()]
        consumer.unsubscribe()
        consumer.assign(every)
        membership.assigned()

    def _record(self, fetched: _Fetched) -> Record:
        return Record(
            Position(self._names.here(fetched.topic), fetched.partition, fetched.offset),
            (fetched.key or b"").decode(errors="replace"),
            fetched.value or b"",
            {name: value.decode(errors="replace") for name, value in fetched.headers},
            fetched.timestamp / 1000,
        )
