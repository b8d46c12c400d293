"""Appending to Kafka. Batches are made here, because only who hands a batch over knows what was handed over:
a record that still waits can be given up for certain, one that was handed over cannot.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog
from aiokafka.errors import (  # type: ignore[import-untyped]  # no py.typed
    ClusterAuthorizationFailedError,
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from nexus.backoff import retry
from nexus.domain.errors import InvalidInput, NexusError, OutcomeUnknown, Unavailable
from nexus.domain.topics import NewRecord
from nexus.kafka.client import Connection
from nexus.kafka.lanes import Append, Lane, Waiting
from nexus.kafka.library import Cluster, Producer, Sent, abandon, leader_of, new_producer, partition_of
from nexus.ports import Position

__all__ = ["Appender"]

_log = structlog.get_logger(__name__)

_DELIVER_WITHIN = 10.0
"""Seconds from `append` to its answer, at most."""
_LINGER = 0.003
"""Seconds that the first record waits for others to travel with."""
_PAUSE = 0.2
"""Seconds until a broker that cannot be reached is tried again; also how often what is overdue is looked for."""
_BUFFER = 64 * 1024 * 1024
"""Bytes that wait for their answer; more are refused."""
_LARGEST = 8 * 1024 * 1024
"""Bytes of a value that no topic takes; below that it is for the broker to say."""
_OVERHEAD = 512
"""Bytes that a record is counted for beyond its value."""

_REFUSED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class Appender:
    """`fixed` are numbers of partitions that never change, whatever the brokers say; the others are theirs to say."""

    def __init__(self, connection: Connection, fixed: Mapping[str, int]) -> None:
        self._connection = connection
        self._fixed = fixed
        self._partitions = dict(fixed)
        self._producer: Producer | None = None
        self._connected_at = 0.0
        self._overdue = False
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._ready: list[Lane] = []
        self._work = asyncio.Event()
        self._open: deque[Append] = deque()
        self._buffered = 0
        self._running = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises Unavailable where no broker answers."""
        self._producer = await self._connect()
        self._running = True
        self._spawn(self._pump())
        self._spawn(self._watch())

    async def close(self) -> None:
        """What was to be appended is, or its caller has been told otherwise, when this returns."""
        self._running = False
        if answers := [append.answer for append in self._open if not append.answer.done()]:
            await asyncio.wait(answers)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._producer is not None:
            await _retire(self._producer)
            self._producer = None

    async def append(self, records: Sequence[NewRecord]) -> list[Position]:
        if not records:
            return []
        lanes = [await self._lane_of(record) for record in records]
        size = sum(len(record.value) for record in records) + _OVERHEAD * len(records)
        if not self._running:
            raise Unavailable("the event log is not open")
        if self._buffered and self._buffered + size > _BUFFER:
            raise Unavailable(f"{self._buffered} bytes wait for Kafka already: try again later")
        loop = asyncio.get_running_loop()
        append = Append(loop.create_future(), len(records), loop.time() + _DELIVER_WITHIN)
        self._open.append(append)
        for nth, (lane, record) in enumerate(zip(lanes, records, strict=True)):
            lane.waiting.append(Waiting(append, nth, record))
            if not lane.busy:
                self._make_ready(lane)
        self._buffered += size
        try:
            return await append.answer
        finally:
            self._buffered -= size

    # Where records go

    async def _lane_of(self, record: NewRecord) -> Lane:
        if len(record.value) > _LARGEST:
            raise InvalidInput(
                "",
                f"a record of {len(record.value)} bytes for {record.topic} is larger than the log takes: {_LARGEST} bytes",
            )
        partitions = self._partitions.get(record.topic)
        if partitions is None:
            partitions = await self._look_for(record.topic)
        number = partition_of(record.key, partitions)
        try:
            return self._lanes[record.topic, number]
        except KeyError:
            return self._lanes.setdefault((record.topic, number), Lane(record.topic, number))

    async def _look_for(self, topic: str) -> int:
        """The number of partitions of a topic that was made lately."""
        known = False
        with suppress(TimeoutError):
            async with asyncio.timeout(_DELIVER_WITHIN):
                known = self._producer is not None and await self._producer.client.force_metadata_update()
        if topic in self._partitions:
            return self._partitions[topic]
        if not known:
            raise Unavailable(f"{self._servers} does not say what topics there are: try again later")
        raise NexusError(f"there is no topic {topic}: make it with `nexus topics`")

    def _learn(self, cluster: Cluster) -> None:
        # Topics are never forgotten: one whose leader is being elected is missing from an answer now and then.
        for topic in cluster.topics():
            self._partitions[topic] = self._fixed.get(topic) or len(cluster.partitions_for_topic(topic) or ())

    # How they go

    def _make_ready(self, lane: Lane) -> None:
        lane.busy = True
        self._ready.append(lane)
        self._work.set()

    def _make_ready_later(self, lanes: Sequence[Lane]) -> None:
        loop = asyncio.get_running_loop()
        for lane in lanes:
            loop.call_later(_PAUSE, self._make_ready, lane)

    async def _pump(self) -> None:
        while True:
            await self._work.wait()
            await asyncio.sleep(_LINGER)
            self._work.clear()
            producer = self._producer or await self._reconnect()
            lanes, self._ready = self._ready, []
            by_leader: dict[int, list[Lane]] = defaultdict(list)
            for lane in lanes:
                try:
                    by_leader[leader_of(producer.client, lane.topic, lane.number)].append(lane)
                except LeaderNotAvailableError:
                    producer.client.force_metadata_update()
                    self._make_ready_later([lane])
            for leader, led in by_leader.items():
                # A task for each broker: the others do not wait for one that cannot be reached.
                self._spawn(self._hand_over(producer, leader, led))

    async def _hand_over(self, producer: Producer, leader: int, lanes: Sequence[Lane]) -> None:
        if not await producer.client.ready(leader):
            self._make_ready_later(lanes)
            return
        for lane in lanes:
            batch = producer.create_batch()
            if not lane.load(batch):
                lane.busy = False
                continue
            try:
                sent = await producer.send_batch(batch, lane.topic, partition=lane.number)
            except (KafkaError, AssertionError) as error:  # it asserts that the partition is there
                lane.unload()
                self._make_ready_later([lane])
                self._replace(producer, error)
            else:
                sent.add_done_callback(partial(self._settle, producer, lane))

    def _settle(self, producer: Producer, lane: Lane, sent: asyncio.Future[Sent]) -> None:
        error = sent.exception()
        travelled = lane.arrived()
        if error is None and (first := sent.result().offset) >= 0:
            for number, (append, nth, _) in enumerate(travelled, first):
                append.place(nth, Position(lane.topic, lane.number, number))
        else:
            for append, _, _ in travelled:
                append.fail(_told(error, lane.topic))
        if error is not None:
            # Its batch is missing from the sequence that the brokers expect of this producer.
            self._replace(producer, error)
        if lane.waiting:
            self._make_ready(lane)
        else:
            lane.busy = False

    async def _watch(self) -> None:
        """Answer what is overdue, and leave a producer with which that happens."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_PAUSE)
            while self._open and (self._open[0].answer.done() or self._open[0].deadline <= loop.time()):
                append = self._open.popleft()
                if not append.answer.done():
                    append.fail(self._too_late(append))
                    self._overdue = True
            if self._overdue and self._producer and loop.time() - self._connected_at >= _DELIVER_WITHIN:
                self._replace(self._producer, None)

    def _too_late(self, append: Append) -> NexusError:
        waited = f"{self._servers} did not acknowledge within {_DELIVER_WITHIN:.0f} s"
        if append.handed_over:
            return OutcomeUnknown(f"{waited}: the records may be in the log or may not")
        return Unavailable(f"{waited}, and got nothing: see whether its brokers run")

    # Connections

    @property
    def _servers(self) -> str:
        return "Kafka at " + ", ".join(self._connection["bootstrap_servers"])

    def _replace(self, producer: Producer, why: BaseException | None) -> None:
        if producer is self._producer:
            _log.warning("kafka_producer_replaced", problem=str(why or "records are overdue"))
            self._producer = None
            self._overdue = False
            self._spawn(_retire(producer))
            self._work.set()

    async def _reconnect(self) -> Producer:
        self._producer = await retry(self._connect, "kafka_unavailable")
        return self._producer

    async def _connect(self) -> Producer:
        producer = new_producer(self._connection)
        try:
            async with asyncio.timeout(_DELIVER_WITHIN):
                await producer.start()
                await producer.client.force_metadata_update()
        except (KafkaError, TimeoutError) as error:
            await producer.stop()
            raise Unavailable(
                f"{self._servers} cannot be reached ({error}): see whether its brokers run, and check the section kafka"
            ) from None
        except asyncio.CancelledError:
            await producer.stop()
            raise
        self._learn(producer.client.cluster)
        producer.client.cluster.add_listener(self._learn)
        self._connected_at = asyncio.get_running_loop().time()
        return producer

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _retire(producer: Producer) -> None:
    """Let what is on its way with it arrive, for a moment, then close it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await producer.flush()
    await abandon(producer)


def _told(error: BaseException | None, topic: str) -> NexusError:
    if isinstance(error, _TOO_LARGE):
        return InvalidInput("", f"a record is larger than {topic} takes: see its max.message.bytes")
    if isinstance(error, _REFUSED):
        return Unavailable(
            f"Kafka does not let us write to {topic} ({error}): grant it to the user of kafka.username"
        )
    return OutcomeUnknown(f"{topic} may have the records or may not: {error or 'their offsets are lost'}")
