"""The driver for Kafka: a batch loop over a consumer of aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, cast

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped] # has none
from aiokafka.abc import ConsumerRebalanceListener  # type: ignore[import-untyped] # has none
from aiokafka.errors import IllegalStateError, KafkaError  # type: ignore[import-untyped] # has none

from nexus.domain.errors import Unavailable
from nexus.ports import Partition, Position, Record
from streams.acks import Acks
from streams.processor import Clock, Delivery, Processor
from streams.progress import Progress
from streams.retry import retry

__all__ = ["ALLOWED_SKEW", "KafkaDriver"]

_log = structlog.get_logger(__name__)

ALLOWED_SKEW = timedelta(milliseconds=100)
"""How far the clocks of two hosts may be apart."""

_TICK = 0.05
"""Seconds between two looks at how far the log reaches. A broker answers a connection's questions in turn, so that
this is also the longest that a fetch may wait for records."""
_COMMIT_EVERY = 0.5
_PAUSE = 0.5
"""Seconds before a batch is delivered again that failed because something was away."""
_PATIENCE = 5.0
"""Seconds that the group waits for our batch in hand before its partitions go to others, and a stop for the broker."""
_REBALANCE = 30.0
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


class _Consumer(Protocol):
    """What is used of AIOKafkaConsumer, whose partitions are tuples of topic and number as ours are."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(self, topics: Collection[str], *, listener: object) -> None: ...
    def unsubscribe(self) -> None: ...
    def assign(self, partitions: Collection[tuple[str, int]]) -> None: ...
    def assignment(self) -> Collection[tuple[str, int]]: ...
    def partitions_for_topic(self, topic: str) -> Collection[int] | None: ...
    async def position(self, at: tuple[str, int]) -> int: ...
    async def end_offsets(self, of: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]: ...
    async def commit(self, offsets: Mapping[tuple[str, int], int]) -> None: ...
    async def getmany(
        self, *, timeout_ms: int, max_records: int
    ) -> Mapping[tuple[str, int], Sequence[_Fetched]]: ...


class _Mark(NamedTuple):
    """Where the log ended at a time or later: once delivered up to there, all of before that time is."""

    asked: datetime
    ends: Mapping[Partition, int]


class KafkaDriver:
    """Feeds a processor as a member of the consumer group `consumers`; with no group, from the end of the log on.

    `connection` holds the arguments of aiokafka's clients that say where the brokers are and who asks. A batch holds
    at most `batch` records. A member is never expelled for being long at a batch, because a scheduler is whenever its
    window is full: that the process lives is told by heartbeats, that it gets on by `problem`.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        topics: Sequence[str],
        processor: Processor,
        *,
        consumers: str | None,
        clock: Clock,
        batch: int = 500,
        skew: timedelta = ALLOWED_SKEW,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._processor = processor
        self._consumers = consumers
        self._clock = clock
        self._batch = batch
        self._skew = skew
        self._progress = Progress(consumers, clock)

    def problem(self) -> str | None:
        return self._progress.problem()

    async def run(self) -> None:
        """Until cancelled; then what was acknowledged is committed."""
        while True:
            try:
                await self._consume()
            except KafkaError as error:
                # Some of its errors leave a consumer that never works again: the next one starts from what is committed.
                _log.warning("consumer_starts_anew", consumers=self._consumers, problem=str(error))
                await asyncio.sleep(_PAUSE)

    async def _consume(self) -> None:
        """For as long as one consumer works."""
        consumer = cast(
            "_Consumer",
            AIOKafkaConsumer(
                group_id=self._consumers,
                auto_offset_reset="earliest" if self._consumers else "latest",
                enable_auto_commit=False,
                fetch_max_wait_ms=int(_TICK * 1000),
                heartbeat_interval_ms=1000,  # a member hears of a rebalance by its heartbeat
                max_poll_interval_ms=_NEVER,
                rebalance_timeout_ms=int(_REBALANCE * 1000),
                **self._connection,
            ),
        )
        membership = _Membership(
            consumer, self._topics, self._processor, self._consumers, self._progress, self._skew
        )
        consumer.subscribe(self._topics, listener=membership)
        background: list[asyncio.Task[None]] = []
        try:
            await consumer.start()
            if self._consumers is None:
                membership.take_all()
            background += [
                asyncio.create_task(membership.commit_regularly()),
                asyncio.create_task(membership.look_ahead(self._clock)),
            ]
            while True:
                fetched = await consumer.getmany(timeout_ms=int(_TICK * 1000), max_records=self._batch)
                await membership.hand_over(fetched)
        finally:
            for task in background:
                task.cancel()
            for last in (membership.commit, consumer.stop):
                with suppress(TimeoutError, KafkaError):
                    async with asyncio.timeout(_PATIENCE):
                        await last()


class _Membership(ConsumerRebalanceListener):  # type: ignore[misc] # its base has no types
    """What one consumer has been assigned, has delivered and may commit.

    The group is told of a rebalance by aiokafka in this order: no more records from `getmany`, then
    `on_partitions_revoked`, then records of the new assignment.
    """

    def __init__(
        self,
        consumer: _Consumer,
        topics: Sequence[str],
        processor: Processor,
        consumers: str | None,
        progress: Progress,
        skew: timedelta,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._processor = processor
        self._consumers = consumers
        self._progress = progress
        self._skew = skew
        self._acks: dict[Partition, Acks] = {}
        self._told: frozenset[Partition] = frozenset()
        self._mark: _Mark | None = None
        self._in_hand = asyncio.Lock()
        self._committing = asyncio.Lock()

    def take_all(self) -> None:
        """Without a group. A mere subscription would start from the end anew whenever a topic looks different."""
        every = self._every()
        self._consumer.unsubscribe()
        self._consumer.assign([TopicPartition(*at) for at in every])

    async def on_partitions_revoked(self, revoked: Collection[object]) -> None:
        """Everything is taken from everybody, and then given out anew."""
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._told:
                    # First of all: it makes a scheduler let go of a batch for which its window has no room.
                    await self._processor.assigned((), self._every())
                async with self._in_hand:
                    await self.commit()
        except (TimeoutError, Unavailable) as error:
            _log.warning("revoked_before_the_batch_was_done", consumers=self._consumers, problem=repr(error))
        finally:
            self._acks = {}
            self._told = frozenset()
            self._mark = None

    async def on_partitions_assigned(self, assigned: Collection[object]) -> None:
        """No heartbeat goes out before this returns, so the processor is told later, by `hand_over`."""

    async def hand_over(self, fetched: Mapping[tuple[str, int], Sequence[_Fetched]]) -> None:
        """Deliver what was fetched, until it is taken or not ours any more, and say how far we have come."""
        async with self._in_hand:
            if await self._tell():
                if fetched:
                    await self._deliver(
                        [self._delivery(record) for some in fetched.values() for record in some]
                    )
                await self._reach()

    async def _tell(self) -> bool:
        """The processor hears what is ours before it gets any of it; False when it was taken from us meanwhile."""
        acks = self._acks
        mine = frozenset(Partition(*at) for at in self._consumer.assignment())
        if mine != self._told:
            every = self._every()
            await retry(lambda: self._processor.assigned(mine, every))
            if self._acks is not acks:
                return False
            self._told = mine
        return True

    def _every(self) -> list[Partition]:
        return [
            Partition(topic, number)
            for topic in self._topics
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]

    def _delivery(self, fetched: _Fetched) -> Delivery:
        record = _record(fetched)
        partition = Partition(fetched.topic, fetched.partition)
        acks = self._acks.get(partition)
        if acks is None or record.position.offset < acks.next:
            # The first of this assignment, or a log that was cut back: what is held of it is void.
            acks = self._acks[partition] = Acks(record.position.offset)
        return acks.deliver(record)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        acks = self._acks
        self._progress.waits()
        while self._acks is acks:
            try:
                await self._processor.process(deliveries)
            except Unavailable as error:
                _log.warning("processor_waits", consumers=self._consumers, problem=str(error))
                await asyncio.sleep(_PAUSE)
            else:
                break
        self._progress.made()

    async def look_ahead(self, clock: Clock) -> None:
        """Ask where the log ends, again as soon as that was delivered.

        The time is read before the question is sent, so however late the answer comes it is true of that time. What
        was accepted before it lies below these ends, since a record is accepted after all in-sync replicas have it.
        """
        while True:
            await asyncio.sleep(_TICK)
            mine = self._consumer.assignment()
            if self._mark or not mine:
                continue
            asked = clock()
            try:
                for at in mine:
                    await self._consumer.position(at)  # is known from then on
                ends = await self._consumer.end_offsets(mine)
            except KafkaError as error:
                _log.warning("end_not_known", consumers=self._consumers, problem=str(error))
                await asyncio.sleep(_PAUSE)
            else:
                self._mark = _Mark(asked, {Partition(*at): end for at, end in ends.items()})

    async def _reach(self) -> None:
        mark = self._mark
        if mark is None or mark.ends.keys() != self._told:
            self._mark = None
            return
        for at, end in mark.ends.items():
            if await self._position(at) < end:
                self._progress.waits()
                return
        self._progress.made()
        self._mark = None
        try:
            await self._processor.caught_up(mark.asked - self._skew)
        except Unavailable as error:
            _log.warning("processor_waits", consumers=self._consumers, problem=str(error))

    async def _position(self, at: Partition) -> int:
        """What is below was delivered, because nothing of what was fetched is left here."""
        try:
            return await self._consumer.position(TopicPartition(*at))
        except IllegalStateError:
            return 0  # it is being taken from us

    async def commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_EVERY)
            await self.commit()

    async def commit(self) -> None:
        """What is acknowledged of each partition without a gap. What is not committed is only delivered once more."""
        async with self._committing:
            settled = {at: (acks, acks.settled()) for at, acks in self._acks.items()}
            moved = {at: offset for at, (acks, offset) in settled.items() if offset > acks.committed}
            if self._consumers is None or not moved:
                return
            try:
                await self._consumer.commit({TopicPartition(*at): offset for at, offset in moved.items()})
            except KafkaError as error:
                _log.warning("commit_waits", consumers=self._consumers, problem=str(error))
                return
            for at, offset in moved.items():
                settled[at][0].committed = offset


def _record(fetched: _Fetched) -> Record:
    return Record(
        Position(fetched.topic, fetched.partition, fetched.offset),
        (fetched.key or b"").decode(errors="replace"),
        fetched.value or b"",
        {name: value.decode(errors="replace") for name, value in fetched.headers},
        fetched.timestamp / 1000,
    )
