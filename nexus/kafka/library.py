"""aiokafka as far as the event log needs it. It publishes no types: this is where it gets them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition  # type: ignore[import-untyped]  # no py.typed
from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]  # no py.typed
from aiokafka.errors import (  # type: ignore[import-untyped]  # no py.typed
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    for_code,
)
from aiokafka.partitioner import murmur2  # type: ignore[import-untyped]  # no py.typed
from aiokafka.protocol.fetch import FetchRequest  # type: ignore[import-untyped]  # no py.typed
from aiokafka.protocol.offset import OffsetRequest  # type: ignore[import-untyped]  # no py.typed
from aiokafka.record import MemoryRecords  # type: ignore[import-untyped]  # no py.typed

from nexus.kafka.client import Connection

__all__ = [
    "REQUEST_TIMEOUT",
    "Batch",
    "Client",
    "Cluster",
    "Fetched",
    "FetchedBatch",
    "FetchedRecord",
    "InSync",
    "Producer",
    "Sent",
    "abandon",
    "end_of",
    "fetch",
    "in_sync",
    "leader_of",
    "new_client",
    "new_producer",
    "partition_of",
    "start_of",
]

REQUEST_TIMEOUT = 4.0
"""Seconds that one request waits for its answer."""

_BATCH_BYTES = 512 * 1024
"""Below what brokers take by default (1 MB), so that only a record that is too large by itself is refused for its size."""
_METADATA_AGE = 60.0
"""Seconds after which a client asks anew what topics and leaders there are."""

_END = -1
_START = -2


class Cluster(Protocol):
    def topics(self) -> set[str]: ...
    def partitions_for_topic(self, topic: str) -> set[int] | None: ...
    def leader_for_partition(self, partition: object) -> int | None: ...
    def add_listener(self, listener: Callable[[Cluster], None]) -> None: ...


class Client(Protocol):
    cluster: Cluster

    async def bootstrap(self) -> None: ...
    async def close(self) -> None: ...
    async def ready(self, node_id: int) -> bool: ...
    async def send(self, node_id: int, request: object) -> Any: ...
    async def fetch_all_metadata(self) -> Cluster: ...
    def force_metadata_update(self) -> Awaitable[bool]: ...


class Sent(Protocol):
    offset: int
    """Of the first record of the batch; -1 when the broker does not know it any more."""


class Batch(Protocol):
    def append(
        self, *, timestamp: None, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> object | None:
        """None when it is full; the first record always fits."""
        ...


class Producer(Protocol):
    client: Client

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def flush(self) -> None: ...
    def create_batch(self) -> Batch: ...
    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Sent]: ...


class FetchedRecord(Protocol):
    offset: int
    timestamp: int
    """In milliseconds."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class FetchedBatch(Protocol):
    is_control_batch: bool
    next_offset: int

    def validate_crc(self) -> bool: ...
    def __iter__(self) -> Iterator[FetchedRecord]: ...


class Fetched(NamedTuple):
    """Whole batches, the first of which may begin before the offset asked for, and where the partition ended."""

    batches: Iterator[FetchedBatch]
    end: int


class InSync(NamedTuple):
    """How many replicas of a partition have all that was acknowledged, and how many there are."""

    topic: str
    partition: int
    there: int
    replicas: int


def partition_of(key: str, partitions: int) -> int:
    """As Kafka's own producers choose it, in whatever language."""
    return int(murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def new_client(connection: Connection) -> Client:
    client: Client = AIOKafkaClient(
        **connection,
        request_timeout_ms=int(REQUEST_TIMEOUT * 1000),
        metadata_max_age_ms=int(_METADATA_AGE * 1000),
    )
    return client


def new_producer(connection: Connection) -> Producer:
    producer: Producer = AIOKafkaProducer(
        **connection,
        enable_idempotence=True,
        acks="all",
        compression_type="lz4",
        max_batch_size=_BATCH_BYTES,
        request_timeout_ms=int(REQUEST_TIMEOUT * 1000),
        metadata_max_age_ms=int(_METADATA_AGE * 1000),
    )
    return producer


async def abandon(producer: Producer) -> None:
    """Close it, and fail what it still holds: by itself an idempotent producer would retry without end."""
    internal: Any = producer
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(2 * REQUEST_TIMEOUT):
            await internal._sender.close()
    internal._message_accumulator.fail_all(KafkaTimeoutError())
    await producer.stop()


def leader_of(client: Client, topic: str, partition: int) -> int:
    """The node to ask. Raises LeaderNotAvailableError while there is none."""
    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    if leader is None or leader < 0:
        raise LeaderNotAvailableError(f"{topic} [{partition}]")
    return leader


def in_sync(cluster: Cluster) -> list[InSync]:
    """Of each partition that the brokers have."""
    internal: Any = cluster
    return [
        InSync(each.topic, each.partition, len(each.isr), len(each.replicas))
        for partitions in internal._partitions.values()
        for each in partitions.values()
    ]


async def fetch(client: Client, topic: str, partition: int, offset: int, size: int) -> Fetched:
    """What there is now from `offset` on, about `size` bytes but at least one batch. Raises KafkaError."""
    request = FetchRequest(0, 1, size, 0, [(topic, [(partition, offset, size)])])
    response = await client.send(leader_of(client, topic, partition), request)
    [(_, [(_, code, end, *_, data)])] = response.topics
    if code:
        raise for_code(code)(f"{topic} [{partition}]")
    return Fetched(_batches(data or b""), end)


async def end_of(client: Client, topic: str, partition: int) -> int:
    """The offset that the next record gets. Raises KafkaError."""
    return await _offset(client, topic, partition, _END)


async def start_of(client: Client, topic: str, partition: int) -> int:
    """The offset of the oldest record that is retained. Raises KafkaError."""
    return await _offset(client, topic, partition, _START)


async def _offset(client: Client, topic: str, partition: int, which: int) -> int:
    request = OffsetRequest(-1, 0, [(topic, [(partition, which)])])
    response = await client.send(leader_of(client, topic, partition), request)
    [(_, [(_, code, *_, offset)])] = response.topics
    if code:
        raise for_code(code)(f"{topic} [{partition}]")
    return int(offset)


def _batches(data: bytes) -> Iterator[FetchedBatch]:
    records = MemoryRecords(data)
    while records.has_next():
        yield records.next_batch()
