"""Processors on real embedded stores, with a simulated cluster and a clock that the tests move."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.context import ApiContext
from api.queues import Queues
from api.verdicts import Verdicts
from nexus.cordons import Cordons
from nexus.domain.cordon import Cordon
from nexus.domain.diagnosis import GRACES
from nexus.domain.events import Event, RunRequested
from nexus.domain.garbage import Keeping
from nexus.domain.job import Materializer
from nexus.domain.observed import JobView
from nexus.domain.payload import PayloadSigner
from nexus.domain.run import Run
from nexus.domain.topics import (
    CLUSTERS,
    DEAD_LETTERS,
    OBSERVATIONS,
    RESULTS,
    RUNS,
    NewRecord,
    read_event,
    requests_of,
)
from nexus.embedded.claims import SqliteClaims
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.payload_store import FolderPayloadStore
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.templates import FolderTemplates
from nexus.journal import Journal
from nexus.payload_urls import SignedUrls
from nexus.ports import PayloadStore, Record
from streams.context import Context
from streams.drivers.embedded import EmbeddedDriver
from streams.ledger.ledger import CONSUMERS, Ledger
from streams.ledger.notifications import Notifications
from streams.processor import Processor
from streams.supervisor.collector import Collector
from streams.supervisor.oversight import Oversight
from streams.supervisor.reconciler import Limits, Reconciler
from streams.supervisor.supervisor import Supervisor
from streams.supervisor.sweeper import Sweeper
from streams.watcher import Watcher
from tests.e2e.nexus_process import TEMPLATES
from tests.support.factories import CLUSTER, after, job_created, run_requested
from tests.support.simulated_cluster import SimulatedCluster
from tests.support.tasks import Condition, Tasks

REQUESTS = requests_of(CLUSTER)
ELSEWHERE = "another"
"""A second cluster, whose requests no scheduler takes."""
MAX_BLIND = 24 * 3600
SOON = 0.01
"""Seconds between two commits of a driver: tests wait for them."""
SIGNER = PayloadSigner("http://nexus.test", "tenant", b"secret")
MATERIALIZER = Materializer("tests", "0.1.0", timedelta(days=7))
KEEPING = Keeping(
    job_grace=timedelta(hours=1), payload_retention=timedelta(hours=3), payload_grace=timedelta(hours=2)
)
TOPICS = {
    RUNS: 3,
    REQUESTS: 2,
    requests_of(ELSEWHERE): 1,
    OBSERVATIONS: 3,
    RESULTS: 2,
    DEAD_LETTERS: 1,
    CLUSTERS: 1,
}


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


class Installation(Tasks):
    """The embedded engines in a folder, a cluster, and the roles that a test starts on them."""

    def __init__(self, folder: Path, clock: ManualClock | None = None) -> None:
        super().__init__(patience=60, to_stop=10)
        self.clock = clock or ManualClock()
        self.log = SqliteEventLog(folder / "log.db", TOPICS, self.clock.timestamp)
        self.projections = folder / "projections.db"
        self.store = SqliteRunStore(self.projections)
        self.cluster = SimulatedCluster(self.clock)
        self.clusters = {self.cluster.name: self.cluster}
        self.journal = Journal(self.log, "nexus/tests")
        self.context = Context(self.store, self.journal, self.clock, self.clock.monotonic, lambda: 0.5)

    async def close(self) -> None:
        await self.stop_all()
        self.log.close()
        self.store.close()

    # Roles

    def drive(
        self, processor: Processor, *topics: str, consumers: str | None = "tests", batch: int = 500
    ) -> asyncio.Task[None]:
        driver = EmbeddedDriver(
            self.log,
            topics,
            processor,
            consumers=consumers,
            clock=self.clock,
            batch=batch,
            commit_every=SOON,
        )
        return self.spawn(driver.run())

    def start_ledger(self, consumers: str = CONSUMERS, batch: int = 500) -> asyncio.Task[None]:
        ledger = Ledger(self.store, self.journal, self.clock)
        return self.drive(ledger, REQUESTS, requests_of(ELSEWHERE), RUNS, consumers=consumers, batch=batch)

    def start_watcher(self) -> asyncio.Task[None]:
        return self.spawn(Watcher(self.cluster, self.journal, self.clock).run())

    def start_supervisor(self) -> asyncio.Task[None]:
        supervisor = Supervisor(self.context, self.clusters)
        return self.drive(supervisor, OBSERVATIONS, consumers="supervisor")

    def start_notifications(self, consumers: str = "notifications") -> asyncio.Task[None]:
        notifications = Notifications(self.store, self.journal, self.clock)
        return self.drive(notifications, RUNS, consumers=consumers)

    def collector(self, linger: float = 60, removed: Collection[str] = ()) -> Collector:
        span = timedelta(seconds=linger)
        return Collector(self.context, self.clusters, span, removed)

    def reconciler(
        self,
        grace: float = 30,
        blind: float = MAX_BLIND,
        removed: Collection[str] = (),
        cordons: Callable[[], Mapping[str, Cordon]] = dict,
        **graces: float,
    ) -> Reconciler:
        """Hangs are given up after a minute each, but for the `graces` that a test names, in seconds."""
        spans = {name: timedelta(seconds=graces.get(name, 60)) for name in GRACES}
        limits = Limits(timedelta(seconds=grace), timedelta(seconds=blind), removed)
        oversight = Oversight(self.clusters, spans, limits.check_after)
        return Reconciler(self.context, self.clusters, oversight, limits, cordons)

    def api_context(self, folder: Path, **fields: Any) -> ApiContext:
        """What an API works with; each run that is submitted is run 1."""
        usual = {
            "journal": self.journal,
            "store": self.store,
            "claims": SqliteClaims(folder / "claims.db"),
            "payloads": FolderPayloadStore(folder / "payloads"),
            "templates": FolderTemplates(TEMPLATES),
            "signer": SIGNER,
            "urls": SignedUrls(SIGNER),
            "clusters": {CLUSTER},
            "cordons": Cordons(self.log, self.clock.monotonic),
            "clock": self.clock,
            "new_id": lambda: run_id(1),
            "host": "tests",
            "spawn": self.spawn,
            "place_within": timedelta(hours=1),
            "garbage": self.sweeper(FolderPayloadStore(folder / "payloads")).report,
            "unreachable_after": timedelta(seconds=30),
            "disown_after": timedelta(0),
            "read_wait": timedelta(seconds=5),
            "inline_limit": 1024,
            "max_body": 1024,
            "materializer": MATERIALIZER,
            "queues": Queues(self.store, self.clock),
            "verdicts": Verdicts(self.store, {CLUSTER}, self.clock),
        }
        return ApiContext(**(usual | fields))

    def sweeper(self, payloads: PayloadStore, keeping: Keeping = KEEPING) -> Sweeper:
        return Sweeper(self.context, self.clusters, payloads, MATERIALIZER.installation, keeping)

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

    async def until(self, condition: Condition, *, passing: float = 0.01) -> Any:
        """`passing` is the seconds that go by at each look."""
        return await self._until(condition, lambda: self.clock.advance(passing))

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
