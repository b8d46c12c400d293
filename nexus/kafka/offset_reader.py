"""Reading the log by offset, without a consumer group: for audits, rebuilds and a look at what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from aiokafka.errors import KafkaError, OffsetOutOfRangeError  # type: ignore[import-untyped]  # no py.typed

from nexus.backoff import Backoff
from nexus.domain.errors import Unavailable
from nexus.kafka.client import Connection
from nexus.kafka.library import Client, Fetched, InSync, end_of, fetch, in_sync, new_client, start_of
from nexus.kafka.records import from_kafka
from nexus.ports import Position, Record

__all__ = ["Reader"]

T = TypeVar("T")

_TIMEOUT = 10.0
"""Seconds that a question is asked again and again before the log is said to be unavailable."""
_FETCH_BYTES = 1024 * 1024
_CURSORS = 64
"""Partitions of which the rest of the last fetch is kept."""


class _Cursor:
    """The rest of a fetch. `next` is the offset that its next record has, or a later one."""

    def __init__(self, topic: str, partition: int, offset: int, fetched: Fetched) -> None:
        self.next = offset
        self.end = fetched.end
        self.records = self._decode(topic, partition, offset, fetched)

    def _decode(self, topic: str, partition: int, offset: int, fetched: Fetched) -> Iterator[Record]:
        for batch in fetched.batches:
            if not batch.validate_crc():
                raise Unavailable(
                    f"{topic} [{partition}] was damaged on the way, from {self.next} on: read it again"
                )
            if not batch.is_control_batch:
                for record in batch:
                    if record.offset >= offset:
                        self.next = record.offset + 1
                        yield from_kafka(
                            Position(topic, partition, record.offset),
                            record.key,
                            record.value,
                            record.headers,
                            record.timestamp,
                        )
            # Offsets can have gaps, and a batch says where the next one begins.
            self.next = batch.next_offset


class Reader:
    """Reads may run side by side. A read that goes on where another stopped takes what that one had fetched."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._cursors: dict[tuple[str, int], _Cursor] = {}

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        """Up to `limit` records from `offset`, or from the oldest retained, on; fewer at the end only."""
        # Taken out while in use: another read of the same partition fetches for itself.
        cursor = self._cursors.pop((topic, partition), None)
        if cursor is None or cursor.next != offset:
            cursor = await self._fetch(topic, partition, offset)
            fresh = True
        else:
            fresh = False
        found: list[Record] = []
        while True:
            for record in cursor.records:
                found.append(record)
                if len(found) == limit:
                    self._keep(topic, partition, cursor)
                    return found
            if fresh and cursor.next >= cursor.end:
                return found
            cursor = await self._fetch(topic, partition, cursor.next)
            fresh = True

    async def end(self, topic: str, partition: int) -> int:
        return await self._ask(lambda client: end_of(client, topic, partition))

    async def topics(self) -> dict[str, int]:
        """Every topic and its number of partitions, asked for now."""
        cluster = await self._ask(lambda client: client.fetch_all_metadata())
        return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}

    async def in_sync(self) -> list[InSync]:
        """How many replicas every partition has, asked for now. Raises Unavailable."""
        return in_sync(await self._ask(lambda client: client.fetch_all_metadata()))

    def _keep(self, topic: str, partition: int, cursor: _Cursor) -> None:
        self._cursors[topic, partition] = cursor
        if len(self._cursors) > _CURSORS:
            del self._cursors[next(iter(self._cursors))]

    async def _fetch(self, topic: str, partition: int, offset: int) -> _Cursor:
        async def ask(client: Client) -> _Cursor:
            try:
                return _Cursor(
                    topic, partition, offset, await fetch(client, topic, partition, offset, _FETCH_BYTES)
                )
            except OffsetOutOfRangeError:
                # Either its retention is over, or it was never written.
                first = max(offset, await start_of(client, topic, partition))
                if first == offset:
                    return _Cursor(topic, partition, offset, Fetched(iter(()), offset))
                return _Cursor(
                    topic, partition, first, await fetch(client, topic, partition, first, _FETCH_BYTES)
                )

        return await self._ask(ask)

    async def _ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Until it is answered: leaders move, brokers restart, connections break."""
        problem: Exception | None = None
        backoff = Backoff(longest=1.0)
        try:
            async with asyncio.timeout(_TIMEOUT):
                while True:
                    try:
                        client = await self._connected()
                        return await question(client)
                    except KafkaError as error:
                        problem = error
                    if self._client is not None:
                        await self._client.force_metadata_update()
                    await backoff.pause()
        except TimeoutError:
            # The brokers may all have moved: connect anew next time, by the configured addresses.
            await self.close()
            servers = ", ".join(self._connection["bootstrap_servers"])
            raise Unavailable(
                f"Kafka at {servers} did not answer within {_TIMEOUT:.0f} s ({problem}): see whether its brokers run"
            ) from None

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                client = new_client(self._connection)
                try:
                    await client.bootstrap()
                    await client.force_metadata_update()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client
