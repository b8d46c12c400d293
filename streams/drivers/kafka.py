"""The driver for Kafka: a batch loop over a consumer of aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, cast

from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # no py.typed
from aiokafka.abc import ConsumerRebalanceListener  # type: ignore[import-untyped]  # no py.typed
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # no py.typed

from nexus.ports import Position, Record
from streams.drivers.broker import BrokerDriver
from streams.drivers.membership import TIMEOUT, Consumer, Membership

__all__ = ["KafkaDriver"]

_REBALANCE = 30.0
"""Seconds that the group waits for a member to come back to it; a dead one is missed much sooner, by its heartbeats."""
_NEVER = 2**31 - 1


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


class KafkaDriver(BrokerDriver[str | None]):
    """Reads as fast as the brokers give. With no group (`consumers` is None) it reads everything, from the end of the log on."""

    usual_batch = 2000

    async def _consume(self) -> None:
        consumer = self._consumer()
        membership = self._membership(consumer)
        consumer.subscribe(
            [self._names.there(topic) for topic in self._topics], listener=_Listener(membership)
        )
        try:
            await consumer.start()
            if self._consumers is None:
                self._take_all(consumer, membership)
            async with self._working(membership):
                while True:
                    fetched = await consumer.getmany(
                        timeout_ms=int(self._look_every * 1000), max_records=self._batch
                    )
                    await membership.hand_over(
                        [self._record(one) for some in fetched.values() for one in some]
                    )
        finally:
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(TIMEOUT):
                    await consumer.stop()

    def _consumer(self) -> _Consumer:
        consumer = AIOKafkaConsumer(
            group_id=self._consumers,
            auto_offset_reset="earliest" if self._consumers else "latest",
            enable_auto_commit=False,
            # A broker answers the questions of a connection in turn: where the log ends is known after the fetch.
            fetch_max_wait_ms=int(self._look_every * 1000),
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
