"""The driver for the embedded log: one loop per processor over all partitions of its topics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from nexus.backoff import retry
from nexus.domain.errors import Unavailable
from nexus.embedded.event_log import SqliteEventLog
from nexus.ports import Partition
from streams.drivers.acks import Acks
from streams.drivers.liveness import Liveness
from streams.processor import Clock, Delivery, Processor

__all__ = ["EmbeddedDriver"]

_log = structlog.get_logger(__name__)

_TICK = 0.02
"""Seconds between two looks at an idle log: how far the watermark may lag behind."""
_COMMIT_EVERY = 0.5
"""Seconds: what was acknowledged since the last commit is delivered once more after a crash."""


class EmbeddedDriver:
    """Feeds a processor as the consumer group `consumers`; with no group, from the end of the log on.

    A batch holds at most `batch` records of each partition. `commit_every` is the seconds between two commits.
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
        commit_every: float = _COMMIT_EVERY,
    ) -> None:
        self._log = log
        self._topics = topics
        self._processor = processor
        self._consumers = consumers
        self._clock = clock
        self._batch = batch
        self._commit_every = commit_every
        self._partitions: dict[Partition, Acks] = {}
        self._progress = Liveness(consumers, clock)

    def problem(self) -> str | None:
        return self._progress.problem()

    async def run(self) -> None:
        """Until cancelled; then what was acknowledged is committed."""
        self._partitions = await self._assign()
        await self._processor.assigned(list(self._partitions), list(self._partitions))
        arrival = asyncio.Event()
        self._log.subscribe(arrival)
        committer = asyncio.create_task(self._commit_regularly())
        try:
            while True:
                arrival.clear()
                if not await self._pass():
                    await self._idle(arrival)
        finally:
            committer.cancel()
            self._log.unsubscribe(arrival)
            await self._commit()

    async def _assign(self) -> dict[Partition, Acks]:
        counts = await self._log.topics()
        every = [Partition(topic, number) for topic in self._topics for number in range(counts[topic])]
        return {partition: Acks(await self._start(partition)) for partition in every}

    async def _start(self, partition: Partition) -> int:
        if self._consumers is None:
            return await self._log.end(*partition)
        return await self._log.committed(self._consumers, *partition)

    async def _pass(self) -> int:
        """Deliver what there is, and tell the processor how far in time that reaches."""
        reached = self._clock()
        deliveries = []
        for partition, acks in self._partitions.items():
            records = await self._log.read(*partition, acks.next, self._batch)
            deliveries += [acks.deliver(record) for record in records]
            if len(records) == self._batch:
                reached = min(reached, datetime.fromtimestamp(records[-1].timestamp, UTC))
        if deliveries:
            await self._deliver(deliveries)
        await self._processor.caught_up(reached)
        return len(deliveries)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        self._progress.waits()
        await retry(lambda: self._processor.process(deliveries), "processor_waits", consumers=self._consumers)
        self._progress.made()

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

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._commit_every)
            try:
                await self._commit()
            except Unavailable as error:
                _log.warning("commit_waits", consumers=self._consumers, problem=str(error))

    async def _commit(self) -> None:
        # Without a group as well: this is what forgets the records.
        settled = {partition: acks.settled() for partition, acks in self._partitions.items()}
        if self._consumers is None:
            return
        moved = {at: offset for at, offset in settled.items() if offset > self._partitions[at].committed}
        if moved:
            await self._log.commit(self._consumers, moved)
            for at, offset in moved.items():
                self._partitions[at].committed = max(self._partitions[at].committed, offset)
