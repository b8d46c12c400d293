"""The driver for the embedded log: one loop per processor over all partitions of its topics."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from nexus.domain.errors import Unavailable
from nexus.embedded.event_log import SqliteEventLog
from nexus.ports import Partition, Record
from streams.processor import Clock, Delivery, Processor

__all__ = ["EmbeddedDriver"]

_log = structlog.get_logger(__name__)

_TICK = 0.02
"""Seconds between two looks at an idle log: how far the watermark may lag behind."""
_TOO_LONG = timedelta(seconds=60)
_PAUSE = 0.5
"""Seconds before a batch is delivered again that failed because something was away."""


class _Partition:
    """Which records of a partition were handed over, and up to which all of them are acknowledged."""

    def __init__(self, topic: str, number: int, start: int) -> None:
        self.key = Partition(topic, number)
        self.next = start
        self.committed = start
        self._acknowledged: list[int] = []
        self._held: list[int] = []

    def deliver(self, record: Record) -> Delivery:
        offset = record.position.offset
        self.next = offset + 1
        heapq.heappush(self._held, offset)
        return Delivery(record, partial(self._acknowledge, offset))

    def _acknowledge(self, offset: int) -> None:
        heapq.heappush(self._acknowledged, offset)

    def settled(self) -> int:
        """The offset below which everything is acknowledged: never past a record that is still held."""
        while self._held and self._acknowledged and self._acknowledged[0] <= self._held[0]:
            # A batch that was delivered twice may be acknowledged twice: the second word finds nothing held.
            if heapq.heappop(self._acknowledged) == self._held[0]:
                heapq.heappop(self._held)
        return self._held[0] if self._held else self.next


class EmbeddedDriver:
    """Feeds a processor as the consumer group `consumers`; with no group, from the end of the log on.

    A batch holds at most `batch` records of each partition.
    """

    def __init__(
        self,
        log: SqliteEventLog,
        topics: Sequence[str],
        processor: Processor,
        *,
        consumers: str | None,
        clock: Clock,
        batch: int = 500,
    ) -> None:
        self._log = log
        self._topics = topics
        self._processor = processor
        self._consumers = consumers
        self._clock = clock
        self._batch = batch
        self._busy_since: datetime | None = None

    def problem(self) -> str | None:
        """What keeps this processor from going on, once it has been at one batch for longer than anything should take."""
        busy_for = self._clock() - self._busy_since if self._busy_since else timedelta(0)
        if busy_for < _TOO_LONG:
            return None
        return (
            f"{self._consumers} has been at the same batch for {busy_for.total_seconds():.0f} s: see its log"
        )

    async def run(self) -> None:
        """Until cancelled; then what was acknowledged is committed."""
        partitions = await self._assign()
        every = [partition.key for partition in partitions]
        await self._processor.assigned(every, every)
        arrival = asyncio.Event()
        self._log.subscribe(arrival)
        committer = asyncio.create_task(self._commit_regularly(partitions))
        try:
            while True:
                arrival.clear()
                if not await self._pass(partitions):
                    await self._idle(arrival)
        finally:
            committer.cancel()
            self._log.unsubscribe(arrival)
            await self._commit(partitions)

    async def _assign(self) -> list[_Partition]:
        counts = await self._log.topics()
        partitions = []
        for topic in self._topics:
            for number in range(counts[topic]):
                if self._consumers is None:
                    start = await self._log.end(topic, number)
                else:
                    start = await self._log.committed(self._consumers, topic, number)
                partitions.append(_Partition(topic, number, start))
        return partitions

    async def _pass(self, partitions: Sequence[_Partition]) -> int:
        """Deliver what there is, and say how far in time all of it reaches."""
        reached = self._clock()
        deliveries = []
        for partition in partitions:
            records = await self._log.read(*partition.key, partition.next, self._batch)
            deliveries += [partition.deliver(record) for record in records]
            if len(records) == self._batch:
                reached = min(reached, datetime.fromtimestamp(records[-1].timestamp, UTC))
        if deliveries:
            await self._deliver(deliveries)
        await self._processor.caught_up(reached)
        return len(deliveries)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        self._busy_since = self._clock()
        while True:
            try:
                await self._processor.process(deliveries)
            except Unavailable as error:
                _log.warning("processor_waits", consumers=self._consumers, problem=str(error))
                await asyncio.sleep(_PAUSE)
            else:
                break
        self._busy_since = None

    async def _idle(self, arrival: asyncio.Event) -> None:
        """Until something arrives. While nothing does, everything there is has been delivered."""
        while not arrival.is_set():
            now = self._clock()
            try:
                # Not `wait_for`: on Python 3.11 it forgets a cancellation that comes together with the event.
                async with asyncio.timeout(_TICK):
                    await arrival.wait()
            except TimeoutError:
                await self._processor.caught_up(now)

    async def _commit_regularly(self, partitions: Sequence[_Partition]) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                await self._commit(partitions)
            except Unavailable as error:
                _log.warning("commit_waits", consumers=self._consumers, problem=str(error))

    async def _commit(self, partitions: Sequence[_Partition]) -> None:
        # Without a group as well: this is what forgets the records.
        settled = {partition.key: partition.settled() for partition in partitions}
        if self._consumers is None:
            return
        moved = {p.key: settled[p.key] for p in partitions if settled[p.key] > p.committed}
        if moved:
            await self._log.commit(self._consumers, moved)
            for partition in partitions:
                partition.committed = max(partition.committed, moved.get(partition.key, 0))
