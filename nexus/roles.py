"""The roles: each opens the ports that it needs and starts its processors on them."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import uuid_utils

from api.services import Services
from nexus.domain.admission import Window
from nexus.domain.throttle import PendingWindow, TokenBucket
from nexus.domain.topics import OBSERVATIONS, RUNS, requests_of
from nexus.engines import Engines, now
from nexus.journal import Journal
from nexus.ports import Cluster
from streams.collector import Collector
from streams.ledger import Ledger
from streams.notifications import Notifications
from streams.oversight import Oversight
from streams.processor import Ack, Driver, Processor
from streams.reconciler import Reconciler
from streams.scheduler import Scheduler, Starts, Throttle
from streams.supervisor import Supervisor
from streams.watcher import Watcher

__all__ = ["STREAMS", "Role", "Spawn", "services"]

_SETTLE_AFTER = timedelta(seconds=30)
"""An append is given up after ten seconds, and a broker keeps no request that much longer."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Role:
    """What a running role has to do with its process: where its work goes, and what is wrong with it."""

    def __init__(self, engines: Engines, spawn: Spawn) -> None:
        self.engines = engines
        self.spawn = spawn
        self._drivers: list[Driver] = []

    def problems(self) -> list[str]:
        """What `/livez` answers."""
        return [problem for driver in self._drivers if (problem := driver.problem())]

    async def drive(
        self, processor: Processor, topics: list[str], consumers: str | None, *, by_cluster: bool = False
    ) -> None:
        driver = await self.engines.driver(processor, topics, consumers, by_cluster=by_cluster)
        # A scheduler holds a batch for as long as its cluster is full.
        if not isinstance(processor, Scheduler):
            self._drivers.append(driver)
        self.spawn(driver.run())


async def ledger(role: Role) -> None:
    """Folds the log into the projections, and announces how runs ended."""
    engines = role.engines
    store, journal = await engines.store(), await engines.journal("ledger")
    requests = [requests_of(name) for name in engines.cluster_names()]
    await role.drive(Ledger(store, journal, now), [*requests, RUNS], engines.ledgers)
    await role.drive(Notifications(store, journal, now), [RUNS], "notifications")


async def supervisor(role: Role) -> None:
    """Turns observations into facts, decides what waited too long, and removes the Jobs of ended runs."""
    engines = role.engines
    limits = engines.config.supervision
    clusters, store, journal = (
        await engines.clusters(),
        await engines.store(),
        await engines.journal("supervisor"),
    )
    await role.drive(Supervisor(clusters, store, journal, now), [OBSERVATIONS], "supervisor", by_cluster=True)
    collector = Collector(clusters, store, journal, now, limits.linger)
    await role.drive(collector, [RUNS], "collector")
    role.spawn(collector.sweep(limits.sweep_interval))
    graces = msgspec.structs.asdict(engines.config.grace)
    oversight = Oversight(clusters, graces, limits.vanished_grace)
    reconciler = Reconciler(oversight, store, journal, now, limits.vanished_grace)
    role.spawn(reconciler.run(limits.reconcile_interval))


async def scheduler(role: Role) -> None:
    """Makes Jobs of requests, each cluster at its own pace."""
    engines = role.engines
    store, journal = await engines.store(), await engines.journal("scheduler")
    for cluster in (await engines.clusters()).values():
        limits = engines.config.throttle
        placing = Scheduler(
            cluster,
            store,
            journal,
            Window[Ack](limits.window, limits.window_bytes),
            _throttle(engines),
            engines.materializer(),
            await engines.urls(),
            now,
            time.monotonic,
            role.spawn,
        )
        await role.drive(placing, [requests_of(cluster.name)], f"scheduler-{cluster.name}", by_cluster=True)
        await role.drive(Starts(placing, journal, now), [RUNS], None)
        role.spawn(placing.run())


async def watcher(role: Role) -> None:
    """Publishes what the clusters show of our runs."""
    journal = await role.engines.journal("watcher")
    for name, cluster in (await role.engines.clusters()).items():
        leadership = await role.engines.leadership(name, "watcher")
        role.spawn(leadership.lead(partial(_watch, cluster, journal)))


STREAMS: dict[str, Callable[[Role], Awaitable[None]]] = {
    "ledger": ledger,
    "supervisor": supervisor,
    "scheduler": scheduler,
    "watcher": watcher,
}
"""Every role without a path of its own."""


async def _watch(cluster: Cluster, journal: Journal, _term: int) -> None:
    """Each term begins with a list of everything."""
    await Watcher(cluster, journal, now).run()


async def services(role: Role) -> Services:
    """What the API and the receiver work with."""
    engines = role.engines
    config = engines.config
    templates = await engines.templates()
    role.spawn(templates.watch())
    return Services(
        journal=await engines.journal("api"),
        store=await engines.store(),
        claims=await engines.claims(),
        payloads=await engines.payloads(),
        templates=templates,
        signer=engines.signer(),
        urls=await engines.urls(),
        materializer=engines.materializer(),
        clusters=set(engines.cluster_names()),
        clock=now,
        new_id=lambda: str(uuid_utils.uuid7()),
        host=socket.gethostname(),
        spawn=role.spawn,
        place_within=config.placement.deadline,
        settle_after=_SETTLE_AFTER,
        read_wait=config.http.read_wait,
        # Algorithms that read from S3 itself can read nothing that is not there.
        inline_limit=0 if config.s3.presign else config.payload.inline_limit,
        max_body=config.http.max_body,
    )


def _throttle(engines: Engines) -> Throttle:
    limits = engines.config.throttle
    pending = PendingWindow(
        floor=limits.pending_floor,
        ceiling=limits.pending_ceiling,
        target_wait=limits.target_wait.total_seconds(),
        grace=limits.pending_grace.total_seconds(),
        stuck_ceiling=limits.stuck_ceiling,
    )
    park_after = engines.config.placement.park_after
    return Throttle(TokenBucket(limits.rate, limits.burst), pending, park_after, limits.in_flight)
