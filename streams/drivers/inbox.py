"""What a Faust app has fetched and not delivered yet, and what its consumer knows of the partitions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Protocol, cast

import faust
from aiokafka import TopicPartition  # type: ignore[import-untyped]  # no py.typed

from nexus.kafka.names import Names
from nexus.ports import Partition, Position, Record

__all__ = ["Gap", "Inbox"]


class Gap(Exception):
    """Offsets are missing between two records."""


class _Message(Protocol):
    """`timestamp` is in seconds."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] | None
    generation_id: int


class _Event(Protocol):
    message: _Message


class _Stream(Protocol):
    def events(self) -> AsyncIterator[_Event]: ...


class _Consumer(Protocol):
    """What is used of the consumer of an app, besides the one of aiokafka in its thread."""

    def assignment(self) -> Collection[TopicPartition]: ...
    async def seek_to_committed(self) -> Mapping[TopicPartition, int | None]: ...
    async def earliest_offsets(self, *of: TopicPartition) -> Mapping[TopicPartition, int]: ...
    async def highwaters(self, *of: TopicPartition) -> Mapping[TopicPartition, int]: ...
    async def seek_wait(self, partitions: Mapping[TopicPartition, int]) -> None: ...


class Inbox:
    """Between one app's agent and the driver. Holding a batch, it holds up the agent, and that holds up the app.

    Faust may hand over what it fetched before a rebalance, and lose what it fetched during one: it goes back to what
    is committed only where something is. So the start of each partition is set here, whatever is of another
    generation is dropped, and a gap is an error. A gap that is in the log comes again when the app has started anew:
    `gaps` remembers it, and then it is let through.
    """

    def __init__(
        self, app: faust.App, topics: Sequence[str], batch: int, gaps: dict[Partition, int], names: Names
    ) -> None:
        self._app = app
        self._batch = batch
        self._gaps = gaps
        self._names = names
        self._messages: asyncio.Queue[_Message] = asyncio.Queue(batch)
        self._generation: int | None = None
        self._revoked: int | None = None
        self._next: dict[Partition, int] = {}
        channel = app.topic(
            *(names.there(topic) for topic in topics),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            acks=False,
        )
        app.agent(channel, name="records")(self._receive)

    async def _receive(self, stream: _Stream) -> None:
        async for event in stream.events():
            await self._messages.put(event.message)

    @property
    def open(self) -> bool:
        """Partitions were given out, and not taken back since."""
        return self._generation is not None

    def revoked(self) -> None:
        """Whatever was fetched until now is void."""
        self._revoked = self._app.consumer_generation_id
        self._generation = None
        self._next = {}

    async def given(self) -> bool:
        """Begin where the group has come to, before anything is fetched; False when all is taken back already."""
        generation = self._app.consumer_generation_id
        consumer = cast("_Consumer", self._app.consumer)
        start: dict[TopicPartition, int] = {}
        if mine := consumer.assignment():
            committed = await consumer.seek_to_committed()
            oldest = await consumer.earliest_offsets(*mine)
            start = {at: max(committed.get(at) or 0, oldest[at]) for at in mine}
            await consumer.seek_wait(start)
        if generation != self._app.consumer_generation_id or generation == self._revoked:
            return False
        self._next = {Partition(*at): offset for at, offset in start.items()}
        self._generation = generation
        return True

    async def some(self, wait: float) -> list[Record]:
        """Take up to a batch of what came, after at most `wait` seconds for the first. Raises Gap."""
        try:
            async with asyncio.timeout(wait):
                messages = [await self._messages.get()]
        except TimeoutError:
            return []
        while len(messages) < self._batch and not self._messages.empty():
            messages.append(self._messages.get_nowait())
        return [self._record(message) for message in messages if self._is_next(message)]

    def _is_next(self, message: _Message) -> bool:
        at = Partition(message.topic, message.partition)
        if message.generation_id != self._generation or message.offset < self._next[at]:
            return False
        if message.offset > self._next[at] and self._gaps.get(at) != message.offset:
            self._gaps[at] = message.offset
            raise Gap(f"{at.topic} [{at.number}] went on at {message.offset} instead of {self._next[at]}")
        self._next[at] = message.offset + 1
        return True

    def _record(self, message: _Message) -> Record:
        return Record(
            Position(self._names.here(message.topic), message.partition, message.offset),
            (message.key or b"").decode(errors="replace"),
            message.value or b"",
            {name: value.decode(errors="replace") for name, value in message.headers or ()},
            message.timestamp,
        )

    # As a consumer, in the names of the brokers

    def assignment(self) -> Collection[Partition]:
        return list(self._next)

    def partitions_for_topic(self, topic: str) -> Collection[int] | None:
        found: Collection[int] | None = self._client.partitions_for_topic(topic)
        return found

    async def position(self, at: TopicPartition) -> int:
        return self._next.get(at, 0)

    async def end_offsets(self, of: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        return await cast("_Consumer", self._app.consumer).highwaters(*(TopicPartition(*at) for at in of))

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        await self._thread.call_thread(self._client.commit, offsets)

    @property
    def _thread(self) -> Any:
        """Where aiokafka runs. There is no public way to it."""
        return cast("Any", self._app.consumer)._thread

    @property
    def _client(self) -> Any:
        return self._thread._ensure_consumer()
