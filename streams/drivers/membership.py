"""A driver's part in a consumer group: what is ours, what of it was delivered, and what may be committed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import structlog
from aiokafka import TopicPartition  # type: ignore[import-untyped]  # no py.typed
from aiokafka.errors import IllegalStateError, KafkaError  # type: ignore[import-untyped]  # no py.typed

from nexus.backoff import Backoff, retry
from nexus.domain.errors import Unavailable
from nexus.ports import Partition, Record
from streams.drivers.acks import Acks
from streams.drivers.liveness import Liveness
from streams.processor import Clock, Delivery, Processor
from streams.watermark import ALLOWED_SKEW

__all__ = ["ALLOWED_SKEW", "TIMEOUT", "Consumer", "Membership"]

_log = structlog.get_logger(__name__)

TIMEOUT = 5.0
"""Seconds that the group waits for our batch in hand before its partitions go to others, and a stop for the broker."""
_COMMIT_EVERY = 0.5


class Consumer(Protocol):
    """What is asked of a client of Kafka; partitions are topic and number. Every method may raise KafkaError."""

    def assignment(self) -> Collection[tuple[str, int]]: ...

    def partitions_for_topic(self, topic: str) -> Collection[int] | None: ...

    async def position(self, at: TopicPartition) -> int:
        """The offset of the next record that will be fetched."""
        ...

    async def end_offsets(self, of: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...


class _Mark(NamedTuple):
    """Where the log ended at a time or later: once delivered up to there, all of before that time is."""

    asked: datetime
    ends: Mapping[Partition, int]


class Membership:
    """Feeds a processor with what is fetched, across rebalances.

    The driver says `revoked` before partitions go, after which it hands over nothing of them; `assigned` when they
    came; and hands over each batch in the same step in which it fetched it. `look_every` are the seconds between two
    looks at how far the log reaches.
    """

    def __init__(
        self,
        consumer: Consumer,
        topics: Sequence[str],
        processor: Processor,
        consumers: str | None,
        progress: Liveness,
        skew: timedelta,
        look_every: float,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._processor = processor
        self._consumers = consumers
        self._progress = progress
        self._skew = skew
        self._look_every = look_every
        self._acks: dict[Partition, Acks] = {}
        self._told: frozenset[Partition] = frozenset()
        self._mark: _Mark | None = None
        self._given = asyncio.Event()
        self._in_hand = asyncio.Lock()
        self._committing = asyncio.Lock()

    async def revoked(self) -> None:
        """Give up every partition: the group shares them out again."""
        self._given.clear()
        try:
            async with asyncio.timeout(TIMEOUT):
                if self._told:
                    # First of all: it makes a scheduler let go of a batch for which its window has no room.
                    with suppress(Unavailable):  # it hears soon what is ours then
                        await self._processor.assigned((), self.every())
                async with self._in_hand:
                    await self.commit()
        except TimeoutError:
            _log.warning("revoked_before_the_batch_was_done", consumers=self._consumers)
        finally:
            self._acks = {}
            self._told = frozenset()
            self._mark = None

    def assigned(self) -> None:
        """Note the assignment. No heartbeat is sent meanwhile, so `hand_over` tells the processor."""
        self._given.set()

    def every(self) -> list[Partition]:
        """Every partition of the topics."""
        return [
            Partition(topic, number)
            for topic in self._topics
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]

    async def hand_over(self, records: Sequence[Record]) -> None:
        """Deliver records until the processor took them, or they are revoked; then note the progress."""
        await self._given.wait()
        async with self._in_hand:
            if await self._tell():
                if records:
                    await self._deliver([self._delivery(record) for record in records])
                await self._reach()

    async def _tell(self) -> bool:
        """Tell the processor its partitions before any record of them; False when they were revoked meanwhile."""
        acks = self._acks
        mine = frozenset(Partition(*at) for at in self._consumer.assignment())
        if mine != self._told:
            every = self.every()
            await retry(lambda: self._processor.assigned(mine, every))
            if self._acks is not acks:
                return False
            self._told = mine
        return True

    def _delivery(self, record: Record) -> Delivery:
        partition = Partition(record.position.topic, record.position.partition)
        acks = self._acks.get(partition)
        if acks is None or record.position.offset < acks.next:
            # The first of this assignment, or a log that was cut back: what is held of it is void.
            acks = self._acks[partition] = Acks(record.position.offset)
        return acks.deliver(record)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        acks = self._acks
        self._progress.waits()
        backoff = Backoff()
        while self._acks is acks:
            try:
                await self._processor.process(deliveries)
            except Unavailable as error:
                _log.warning("processor_waits", consumers=self._consumers, problem=str(error))
                await backoff.pause()
            else:
                break
        self._progress.made()

    async def look_ahead(self, clock: Clock) -> None:
        """Ask where the log ends, again as soon as that was delivered.

        The time is read before the question is sent, so however late the answer comes it is true of that time. What
        was accepted before it lies below these ends, since a record is accepted after all in-sync replicas have it.
        """
        backoff = Backoff()
        while True:
            await asyncio.sleep(self._look_every)
            mine = self._consumer.assignment() if self._given.is_set() else ()
            if self._mark or not mine:
                continue
            asked = clock()
            try:
                for at in mine:
                    await self._consumer.position(TopicPartition(*at))  # is known from then on
                ends = await self._consumer.end_offsets(mine)
            except KafkaError as error:
                _log.warning("end_not_known", consumers=self._consumers, problem=str(error))
                await backoff.pause()
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
