"""Processors on real embedded stores, with a simulated cluster and a clock that the tests move."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nexus.domain.diagnosis import GRACES
from nexus.domain.events import Event, RunRequested
from nexus.domain.job import Materializer
from nexus.domain.observed import JobView
from nexus.domain.run import Run
from nexus.domain.topics import DEAD_LETTERS, OBSERVATIONS, RESULTS, RUNS, NewRecord, read_event, requests_of
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.run_store import SqliteRunStore
from nexus.journal import Journal
from nexus.ports import Record
from streams.collector import Collector
from streams.embedded import EmbeddedDriver
from streams.ledger import CONSUMERS, Ledger
from streams.notifications import Notifications
from streams.oversight import Oversight
from streams.processor import Processor
from streams.reconciler import Reconciler
from streams.supervisor import Supervisor
from streams.watcher import Watcher
from tests.factories import CLUSTER, after, job_created, run_requested
from tests.simulated_cluster import SimulatedCluster

REQUESTS = requests_of(CLUSTER)
ELSEWHERE = "another"
"""A second cluster, whose requests no scheduler takes."""
MATERIALIZER = Materializer("tests", "0.1.0", timedelta(days=7))
TOPICS = {RUNS: 3, REQUESTS: 2, requests_of(ELSEWHERE): 1, OBSERVATIONS: 3, RESULTS: 2, DEAD_LETTERS: 1}


class ManualClock:
    """Stands still but for a microsecond at each look, so that no two moments are the same."""

    def __init__(self) -> None:
        self._looks = itertools.count(1)
        self._passed = 0.0

    def __call__(self) -> datetime:
        return after(self.monotonic())

    def monotonic(self) -> float:
        return self._passed + next(self._looks) / 1e6

    def timestamp(self) -> float:
        return self().timestamp()

    def advance(self, seconds: float) -> None:
        self._passed += seconds


class WallClock(ManualClock):
    """For clusters that are not simulated: it goes by itself."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def advance(self, seconds: float) -> None:
        pass


def run_id(number: int) -> str:
    return f"019b7c9e-6c2e-7000-8000-{number:012x}"


class Installation:
    """The embedded engines in a folder, a cluster, and the roles that a test starts on them."""

    def __init__(self, folder: Path, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.log = SqliteEventLog(folder / "log.db", TOPICS, self.clock.timestamp)
        self.projections = folder / "projections.db"
        self.store = SqliteRunStore(self.projections)
        self.cluster = SimulatedCluster(self.clock)
        self.clusters = {self.cluster.name: self.cluster}
        self.journal = Journal(self.log, "nexus/tests")
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            await self.stop(task)
        self.log.close()
        self.store.close()

    # Roles

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def stop(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel them; what they raised of their own is raised here."""
        for task in tasks:
            task.cancel()
        for task in tasks:
            self._tasks.discard(task)
            done, _ = await asyncio.wait([task], timeout=10)
            assert done, f"{task} goes on although it was cancelled"
            with suppress(asyncio.CancelledError):
                task.result()

    def drive(
        self, processor: Processor, *topics: str, consumers: str | None = "tests", batch: int = 500
    ) -> asyncio.Task[None]:
        driver = EmbeddedDriver(
            self.log, topics, processor, consumers=consumers, clock=self.clock, batch=batch
        )
        return self.spawn(driver.run())

    def start_ledger(self, consumers: str = CONSUMERS, batch: int = 500) -> asyncio.Task[None]:
        ledger = Ledger(self.store, self.journal, self.clock)
        return self.drive(ledger, REQUESTS, requests_of(ELSEWHERE), RUNS, consumers=consumers, batch=batch)

    def start_watcher(self) -> asyncio.Task[None]:
        return self.spawn(Watcher(self.cluster, self.journal, self.clock).run())

    def start_supervisor(self) -> asyncio.Task[None]:
        supervisor = Supervisor(self.clusters, self.store, self.journal, self.clock)
        return self.drive(supervisor, OBSERVATIONS, consumers="supervisor")

    def start_notifications(self, consumers: str = "notifications") -> asyncio.Task[None]:
        notifications = Notifications(self.store, self.journal, self.clock)
        return self.drive(notifications, RUNS, consumers=consumers)

    def collector(self, linger: float = 60) -> Collector:
        return Collector(self.clusters, self.store, self.journal, self.clock, timedelta(seconds=linger))

    def reconciler(self, grace: float = 30, **graces: float) -> Reconciler:
        """Hangs are given up after a minute each, but for the `graces` that a test names, in seconds."""
        spans = {name: timedelta(seconds=graces.get(name, 60)) for name in GRACES}
        vanished = timedelta(seconds=grace)
        oversight = Oversight(self.clusters, spans, vanished)
        return Reconciler(oversight, self.store, self.journal, self.clock, vanished)

    # What is said

    def request(self, number: int = 1, **fields: Any) -> RunRequested:
        return run_requested(run_id(number), **{"at": self.clock()} | fields)

    async def queued(self, number: int = 1, **fields: Any) -> Run:
        """The run of a request that the ledger has folded."""
        request = self.request(number, **fields)
        await self.say(request)
        return await self.reaches(request.request_id, lambda run: True)

    async def placed(
        self,
        number: int = 1,
        *,
        said: bool = True,
        retries: int = 0,
        owner: JobView | None = None,
        **fields: Any,
    ) -> JobView:
        """The Job of a run that the ledger has folded, and its creation unless nobody lived to say it."""
        run = await self.queued(number, **fields)
        manifest = MATERIALIZER.job(run.request, "http://payload", owner.metadata.uid if owner else "")
        manifest["spec"]["backoffLimit"] = retries
        job = (await self.cluster.create(manifest)).job
        if said:
            await self.say(self.created(job))
            await self.reaches(run.id, lambda row: row.job_uid)
        return job

    def created(self, job: JobView) -> Event:
        return job_created(
            request_id=job.metadata.name,
            at=self.clock(),
            job_uid=job.metadata.uid,
            cluster=self.cluster.name,
            cluster_id=self.cluster.uid,
        )

    async def say(self, *events: Event) -> None:
        await self.journal.append(events)

    async def append(self, topic: str, key: str, value: bytes, **headers: str) -> None:
        await self.log.append([NewRecord(topic, key, value, headers)])

    async def records(self, topic: str) -> list[Record]:
        """In the order of the log within each partition, and of its times between them."""
        found = [
            record
            for partition in range(TOPICS[topic])
            for record in await self.log.read(topic, partition, 0, 100_000)
        ]
        return sorted(found, key=lambda record: (record.timestamp, record.position.offset))

    async def said(self, topic: str = RUNS, run: str | None = None) -> list[Event]:
        return [
            read_event(record.headers, record.value)
            for record in await self.records(topic)
            if run in (None, record.key)
        ]

    async def types(self, run: str) -> list[str]:
        """The facts in the log about a run, by name."""
        return [type(event).__name__ for event in await self.said(RUNS, run)]

    async def history(self, run: str) -> list[str]:
        """The facts in the history of a run, by name: one that was said twice is there once."""
        return [type(entry.event).__name__ for entry in (await self.store.history(run))[1:]]

    async def committed(self, consumers: str, topic: str) -> list[int]:
        return [await self.log.committed(consumers, topic, number) for number in range(TOPICS[topic])]

    async def ends(self, topic: str) -> list[int]:
        return [await self.log.end(topic, number) for number in range(TOPICS[topic])]

    # Waiting

    async def until(self, condition: Callable[[], Awaitable[Any] | Any], *, passing: float = 0.01) -> Any:
        """Wait for a condition to be true and give what it gave; `passing` is the seconds that go by at each look."""
        async with asyncio.timeout(60):
            while True:
                for task in self._tasks:
                    if task.done():
                        task.result()
                result = condition()
                if isinstance(result, Awaitable):
                    result = await result
                if result:
                    return result
                self.clock.advance(passing)
                await asyncio.sleep(0.005)

    async def reaches(self, run: str, condition: Callable[[Run], Any], *, passing: float = 0.01) -> Run:
        """Wait for the row of a run to be so."""

        async def there() -> Run | None:
            row = await self.store.get(run)
            return row if row and condition(row) else None

        return await self.until(there, passing=passing)

    async def has_said(self, run: str, kind: str, *, passing: float = 0.01) -> None:
        async def there() -> bool:
            return kind in await self.types(run)

        await self.until(there, passing=passing)

    async def caught_up(self) -> None:
        """Everything that was said until now is in the projections."""
        moment = self.clock()

        async def beyond() -> bool:
            watermark = await self.store.watermark()
            return watermark is not None and watermark >= moment

        await self.until(beyond)

    async def consumed(self, consumers: str, topic: str) -> None:
        """Everything on the topic was acknowledged by a group whose drivers run."""

        async def there() -> bool:
            return await self.committed(consumers, topic) == await self.ends(topic)

        await self.until(there)

    async def rows(self, ids: Sequence[str]) -> Mapping[str, object]:
        """All that the projections say of these runs."""
        return {
            key: (
                await self.store.get(key),
                await self.store.history(key),
                await self.store.payload(key),
            )
            for key in ids
        }


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    await installation.close()
