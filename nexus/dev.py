"""`nexus dev`: every role in one process on the embedded engines, with all state in one folder."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog
import uuid_utils
from granian.constants import Interfaces
from granian.server.embed import Server

from api.app import create_app
from api.services import Services
from nexus import __version__, heap
from nexus.config import Config
from nexus.domain.admission import Window
from nexus.domain.errors import ConfigError
from nexus.domain.job import Materializer
from nexus.domain.payload import PayloadSigner
from nexus.domain.throttle import PendingWindow, TokenBucket
from nexus.domain.topics import DEAD_LETTERS, OBSERVATIONS, RESULTS, RUNS, requests_of
from nexus.embedded.claims import SqliteClaims
from nexus.embedded.cluster.local import LocalCluster
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.payload_store import FolderPayloadStore
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.state import StateFolder
from nexus.embedded.templates import FolderTemplates
from nexus.journal import Journal
from streams.collector import Collector
from streams.embedded import EmbeddedDriver
from streams.ledger import CONSUMERS, Ledger
from streams.notifications import Notifications
from streams.processor import Ack, Processor
from streams.reconciler import Reconciler
from streams.scheduler import Scheduler, Starts, Throttle
from streams.supervisor import Supervisor
from streams.watcher import Watcher

__all__ = ["Dev", "serve", "topics"]

_log = structlog.get_logger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], object]


def now() -> datetime:
    return datetime.now(UTC)


def topics(config: Config) -> dict[str, int]:
    """Every topic of an installation with one cluster, and its number of partitions."""
    return {
        RUNS: config.log.run_partitions,
        requests_of(config.cluster.name): config.log.request_partitions,
        OBSERVATIONS: config.log.run_partitions,
        RESULTS: config.log.run_partitions,
        DEAD_LETTERS: 1,
    }


class Dev:
    """The embedded engines of one state folder, and the roles on top of them. Close with `close`."""

    def __init__(self, config: Config, state: StateFolder) -> None:
        self._config = config
        self._drivers: list[EmbeddedDriver] = []
        self.url = config.http.external_url.rstrip("/") or f"http://{config.http.host}:{config.http.port}"
        self.log = SqliteEventLog(state.log, topics(config), time.time)
        self.store = SqliteRunStore(state.projections)
        self.claims = SqliteClaims(state.claims)
        self.payloads = FolderPayloadStore(state.payloads)
        self.templates = FolderTemplates(config.templates.folder)
        self.cluster = LocalCluster(
            state.cluster,
            name=config.cluster.name,
            slots=config.cluster.slots,
            directory_of=self.templates.directory_of,
            environment={"NEXUS__CLIENT__RECEIVER": self.url, "NEXUS__CLIENT__SCHEDULER": self.url},
        )
        secret = config.payload.sign_secret.encode() or state.sign_secret()
        self.signer = PayloadSigner(self.url, config.payload.tenant_id, secret)
        self.materializer = Materializer(
            config.placement.installation, f"{__version__}-dev", config.placement.ttl_after_finished
        )

    def close(self) -> None:
        self.log.close()
        self.store.close()
        self.claims.close()

    def problems(self) -> list[str]:
        """What `/livez` answers. The scheduler is left out: it holds a batch for as long as the cluster is full."""
        return [problem for driver in self._drivers if (problem := driver.problem())]

    def services(self) -> Services:
        config = self._config
        return Services(
            journal=self._journal("api"),
            store=self.store,
            claims=self.claims,
            payloads=self.payloads,
            templates=self.templates,
            signer=self.signer,
            materializer=self.materializer,
            clusters={self.cluster.name},
            clock=now,
            new_id=lambda: str(uuid_utils.uuid7()),
            problems=self.problems,
            host=socket.gethostname(),
            place_within=config.placement.deadline,
            read_wait=config.http.read_wait,
            inline_limit=config.payload.inline_limit,
            max_body=config.http.max_body,
        )

    def start_streams(self, spawn: Spawn) -> None:
        """Start every role but the API; each runs until its task is cancelled."""
        requests = [requests_of(self.cluster.name)]
        clusters = {self.cluster.name: self.cluster}
        supervision = self._config.supervision
        self._drive(spawn, CONSUMERS, [*requests, RUNS], Ledger(self.store, self._journal("ledger"), now))
        self._drive(spawn, "notifications", [RUNS], Notifications(self.store, self._journal("ledger"), now))
        supervisor = Supervisor(clusters, self.store, self._journal("supervisor"), now)
        self._drive(spawn, "supervisor", [OBSERVATIONS], supervisor)
        collector = Collector(clusters, self.store, self._journal("collector"), now, supervision.linger)
        self._drive(spawn, "collector", [RUNS], collector)
        spawn(collector.sweep(supervision.sweep_interval))
        reconciler = Reconciler(
            clusters, self.store, self._journal("reconciler"), now, supervision.vanished_grace
        )
        spawn(reconciler.run(supervision.reconcile_interval))
        scheduler = self._scheduler(spawn)
        self._drive(spawn, "scheduler", requests, scheduler)
        self._drive(spawn, None, [RUNS], Starts(scheduler, self._journal("scheduler"), now))
        spawn(scheduler.run())
        spawn(Watcher(self.cluster, self._journal("watcher"), now).run())
        spawn(self.templates.watch())

    def _scheduler(self, spawn: Spawn) -> Scheduler:
        limits = self._config.throttle
        throttle = Throttle(
            TokenBucket(limits.rate, limits.burst),
            PendingWindow(
                floor=limits.pending_floor,
                ceiling=limits.pending_ceiling,
                target_wait=limits.target_wait.total_seconds(),
                grace=limits.pending_grace.total_seconds(),
                stuck_ceiling=limits.stuck_ceiling,
            ),
            self._config.placement.park_after,
            limits.in_flight,
        )
        return Scheduler(
            self.cluster,
            self.store,
            self._journal("scheduler"),
            Window[Ack](limits.window, limits.window_bytes),
            throttle,
            self.materializer,
            self.signer,
            now,
            time.monotonic,
            spawn,
        )

    def _journal(self, role: str) -> Journal:
        return Journal(self.log, f"nexus/{role}/{socket.gethostname()}")

    def _drive(self, spawn: Spawn, consumers: str | None, of: list[str], processor: Processor) -> None:
        driver = EmbeddedDriver(self.log, of, processor, consumers=consumers, clock=now)
        if not isinstance(processor, Scheduler):
            self._drivers.append(driver)
        spawn(driver.run())


async def serve(config: Config, state: StateFolder, announce: Callable[[Dev], None]) -> None:
    """Run until SIGINT or SIGTERM. Raises ConfigError where the folder, the port or the templates cannot be used."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    _check_address(config)
    with state.owned():
        dev = Dev(config, state)
        try:
            await dev.cluster.start()
            await _run(dev, config, stop, announce)
        finally:
            await dev.cluster.stop()
            dev.close()


async def _run(dev: Dev, config: Config, stop: asyncio.Event, announce: Callable[[Dev], None]) -> None:
    server = Server(
        create_app(dev.services()),
        address=config.http.host,
        port=config.http.port,
        interface=Interfaces.ASGI,
        log_enabled=False,
    )
    async with asyncio.TaskGroup() as group:
        tasks: set[asyncio.Task[None]] = set()

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            task = group.create_task(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        dev.start_streams(spawn)
        serving = group.create_task(server.serve())
        heap.settle()
        announce(dev)
        await stop.wait()
        # New requests stop first; what was accepted is durable, and goes on at the next start.
        server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        for task in list(tasks):
            task.cancel()


def _check_address(config: Config) -> None:
    """The server would only log that it cannot listen."""
    with socket.socket(socket.AF_INET6 if ":" in config.http.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.http.host, config.http.port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {config.http.host}:{config.http.port} ({error}): stop what listens there, "
                "or choose another port with --port"
            ) from None
