"""The roles: each opens the ports that it needs and starts its processors on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from api.bodies.intake import BodyLimits
from api.context import ApiContext
from api.origins import Origins
from api.verdicts import Verdicts
from nexus.backoff import retry
from nexus.composition.access import Gate
from nexus.composition.engines import Engines
from nexus.domain.admission import LookAhead
from nexus.domain.errors import ConfigError
from nexus.domain.garbage import Keeping
from nexus.domain.throttle import PendingWindow, TokenBucket
from nexus.domain.topics import OBSERVATIONS, RUNS, requests_of
from nexus.journal import Journal
from nexus.ports import Cluster, Templates
from nexus.views import GarbageReport
from streams.context import Context
from streams.controller.controller import Controller
from streams.ledger.ledger import Ledger
from streams.ledger.notifications import Notifications
from streams.processor import Ack, Clock, Driver, Processor
from streams.scheduler.judge import Judge
from streams.scheduler.placing import Pace, Placer
from streams.scheduler.scheduler import Scheduler, Starts
from streams.supervisor.collector import Collector
from streams.supervisor.oversight import Oversight
from streams.supervisor.reconciler import Limits, Reconciler
from streams.supervisor.supervisor import Supervisor
from streams.supervisor.sweeper import Sweeper
from streams.watcher import Watcher

__all__ = ["INSTALLED", "STREAMS", "Role", "Spawn", "api_context"]

_DISOWN_AFTER = timedelta(seconds=30)
"""An append is given up after ten seconds, and a broker keeps no request that much longer."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Role:
    """What a running role has to do with its process: where its work goes, and what is wrong with it."""

    def __init__(self, engines: Engines, spawn: Spawn) -> None:
        self.engines = engines
        self.spawn = spawn
        self.gate = Gate(engines)
        self._drivers: list[Driver] = []
        self._opening = asyncio.Lock()
        self._templates: Templates | None = None

    def problems(self) -> list[str]:
        """What `/livez` answers."""
        return [problem for driver in self._drivers if (problem := driver.problem())]

    async def templates(self) -> Templates:
        """What is deployed, which is followed from now on. Raises Unavailable."""
        async with self._opening:
            if self._templates is None:
                self._templates = await self.engines.templates()
                self.spawn(self._templates.watch())
            return self._templates

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
    now = engines.machine.clock
    store, journal = await engines.store(), await engines.journal("ledger")
    requests = [requests_of(name) for name in engines.every_cluster()]
    await role.drive(Ledger(store, journal, now), [*requests, RUNS], engines.ledgers)
    await role.drive(Notifications(store, journal, now), [RUNS], "notifications")


async def supervisor(role: Role) -> None:
    """Turns observations into facts, decides what waited too long, and removes the Jobs of ended runs."""
    engines = role.engines
    limits, removed = engines.config.supervision, engines.config.kubernetes.removed_clusters
    context, clusters = await engines.context("supervisor"), await engines.clusters()
    judging = Supervisor(context, clusters, engines.config.kubernetes.served_clusters)
    await role.drive(judging, [OBSERVATIONS], engines.of_served("supervisor"), by_cluster=True)
    collector = Collector(context, clusters, limits.linger, removed)
    await role.drive(collector, [RUNS], engines.of_served("collector"))
    role.spawn(collector.sweep(limits.collect_interval))
    graces = msgspec.structs.asdict(engines.config.grace)
    oversight = Oversight(clusters, graces, limits.missed_after)
    waits = Limits(limits.check_after, limits.max_unreachable, removed, limits.unreachable_after)
    reconciler = Reconciler(context, clusters, oversight, waits)
    role.spawn(reconciler.run(limits.reconcile_interval))
    sweeper = await _sweeper(engines, "supervisor")
    role.spawn(sweeper.run(engines.config.garbage.interval))


async def scheduler(role: Role) -> None:
    """Makes Jobs of requests, each cluster at its own pace."""
    engines = role.engines
    context = await engines.context("scheduler")
    limits, placement = engines.config.throttle, engines.config.placement
    for cluster in (await engines.clusters()).values():
        placer = Placer(
            context,
            cluster,
            Pace(TokenBucket(limits.rate, limits.burst), limits.in_flight),
            placement.denied_grace,
            engines.materializer(),
            await engines.urls(),
        )
        placing = Scheduler(
            context,
            placer,
            LookAhead[Ack](limits.window, limits.window_bytes),
            _pending(engines),
            placement.defer_after,
            role.spawn,
        )
        await role.drive(placing, [requests_of(cluster.name)], f"scheduler-{cluster.name}", by_cluster=True)
        await role.drive(Starts(context, placing), [RUNS], None)
        role.spawn(placing.run())
        role.spawn(_judge(role, context, cluster))


async def _judge(role: Role, context: Context, cluster: Cluster) -> None:
    """Templates that cannot be read yet delay verdicts, and no Job."""
    templates = await retry(role.templates, "templates_not_read")
    await Judge(context, cluster, templates, role.engines.materializer()).run()


async def watcher(role: Role) -> None:
    """Publishes what the clusters show of our runs."""
    journal = await role.engines.journal("watcher")
    for name, cluster in (await role.engines.clusters()).items():
        leadership = await role.engines.leadership(name, "watcher")
        role.spawn(leadership.lead(partial(_watch, cluster, journal, role.engines.machine.clock)))


STREAMS: dict[str, Callable[[Role], Awaitable[None]]] = {
    "ledger": ledger,
    "supervisor": supervisor,
    "scheduler": scheduler,
    "watcher": watcher,
}
"""Every role without a path of its own."""


async def controller(role: Role) -> None:
    """Keeps what is described in one cluster described in all others."""
    engines = role.engines
    config, machine = engines.config, engines.machine
    templates = config.templates
    if not (templates.kubeconfig or templates.in_cluster or config.kubernetes.in_cluster):
        raise ConfigError(
            "the controller is not told which cluster it syncs from: "
            "set templates.kubeconfig, or templates.in_cluster where it runs in that cluster"
        )
    home, leadership = await engines.home()
    shards = {name: opens for name, opens in engines.synced().items() if name != home.name}

    async def sync(_term: int) -> None:
        await Controller(
            home,
            shards,
            config.placement.installation,
            removed=config.kubernetes.removed_clusters,
            clock=machine.clock,
            monotonic=machine.monotonic,
            chance=machine.chance,
        ).run()

    role.spawn(leadership.lead(sync))


INSTALLED: dict[str, Callable[[Role], Awaitable[None]]] = {"controller": controller}
"""The roles of an installation on several clusters, which no `nexus dev` is."""


async def _watch(cluster: Cluster, journal: Journal, clock: Clock, _term: int) -> None:
    """Each term begins with a list of everything."""
    await Watcher(cluster, journal, clock).run()


async def api_context(role: Role) -> ApiContext:
    """What the API and the receiver work with."""
    engines = role.engines
    config = engines.config
    templates = await role.templates()
    store, clock, clusters = await engines.store(), engines.machine.clock, set(engines.cluster_names())
    verdicts = Verdicts(store, clusters, clock)
    role.spawn(verdicts.follow())

    async def garbage(limit: int) -> GarbageReport:
        """Only here does an API ask the clusters, so that it opens them only for this."""
        return await (await _sweeper(engines, "api")).report(limit)

    return ApiContext(
        journal=await engines.journal("api"),
        store=store,
        claims=await engines.claims(),
        payloads=await engines.payloads(),
        templates=templates,
        signer=engines.signer(),
        urls=await engines.urls(),
        materializer=engines.materializer(),
        verdicts=verdicts,
        clusters=clusters,
        clock=clock,
        new_id=engines.machine.new_id,
        host=engines.machine.name,
        spawn=role.spawn,
        place_within=config.placement.deadline,
        disown_after=_DISOWN_AFTER,
        unreachable_after=config.supervision.unreachable_after,
        garbage=garbage,
        read_wait=config.http.read_wait,
        # Algorithms that read from S3 itself can read nothing that is not there.
        inline_limit=0 if config.s3.presign else config.payload.inline_limit,
        origins=Origins.of(
            config.http.host,
            config.http.external_url,
            filter(None, config.http.allowed_origins.split(",")),
        ),
        access=await role.gate.access(role.spawn),
        max_body=config.http.max_body,
        bodies=BodyLimits(
            timeout=config.http.body_timeout.total_seconds(),
            memory=config.http.body_memory,
            disk=config.http.body_disk,
            folder=engines.body_folder,
        ),
    )


async def _sweeper(engines: Engines, role: str) -> Sweeper:
    limits = engines.config.garbage
    return Sweeper(
        await engines.context(role),
        await engines.clusters(),
        await engines.payloads(),
        engines.config.placement.installation,
        Keeping(limits.job_grace, limits.payload_retention, limits.payload_grace),
    )


def _pending(engines: Engines) -> PendingWindow:
    limits = engines.config.throttle
    return PendingWindow(
        floor=limits.pending_floor,
        ceiling=limits.pending_ceiling,
        target_wait=limits.target_wait.total_seconds(),
        grace=limits.pending_grace.total_seconds(),
        stuck_ceiling=limits.stuck_ceiling,
    )
