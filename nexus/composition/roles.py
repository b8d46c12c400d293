"""The roles: each opens the ports that it needs and starts its processors on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import msgspec
import structlog
from msgspec.structs import replace

from api.access.algorithms import Algorithms
from api.access.reports import Reports
from api.bodies.intake import BodyLimits
from api.context import ApiContext
from api.followed import Followed
from api.origins import Origins
from api.queues import Queues
from api.verdicts import Verdicts
from nexus import __version__
from nexus.backoff import retry
from nexus.composition.access import Gate
from nexus.composition.engines import Engines
from nexus.composition.tasks import Spawn, stop, tasks
from nexus.cordons import Cordons
from nexus.domain.admission import LookAhead
from nexus.domain.errors import ConfigError, Unavailable
from nexus.domain.figures import Figures
from nexus.domain.garbage import Keeping
from nexus.domain.throttle import PendingWindow, TokenBucket
from nexus.domain.topics import OBSERVATIONS, REQUESTS, RUNS, requests_of
from nexus.journal import Journal
from nexus.ports import Cluster, EventLog, Objects, RunStore, Templates
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

__all__ = ["INSTALLED", "STREAMS", "Role", "api_context"]

_log = structlog.get_logger(__name__)

_DISOWN_AFTER = timedelta(seconds=30)
"""An append is given up after ten seconds, and a broker keeps no request that much longer."""

_TELL_AGAIN = 5.0
_LOOK_AGAIN = 1.0
"""Seconds before another look at which topics there are."""


class Role:
    """What a running role has to do with its process: where its work goes, and what is wrong with it."""

    def __init__(self, engines: Engines, spawn: Spawn) -> None:
        self.engines = engines
        self.spawn = spawn
        self.gate = Gate(engines)
        self._drivers: list[Driver] = []
        self._parts: list[Role] = []
        self._opening = asyncio.Lock()
        self._templates: Templates | None = None
        self._cordons: Cordons | None = None

    def problems(self) -> list[str]:
        """What `/livez` answers."""
        found = [problem for driver in self._drivers if (problem := driver.problem())]
        return [*found, *(problem for part in self._parts for problem in part.problems())]

    async def templates(self) -> Templates:
        """What is deployed, which is followed from now on. Raises Unavailable."""
        async with self._opening:
            if self._templates is None:
                self._templates = await self.engines.templates()
                self.spawn(self._templates.watch())
            return self._templates

    async def cordons(self) -> Cordons:
        """Which clusters are cordoned, followed from now on."""
        async with self._opening:
            if self._cordons is None:
                self._cordons = await self.engines.cordons()
                self.spawn(self._cordons.follow())
            return self._cordons

    async def part(self, start: Callable[[Role], Awaitable[None]]) -> None:
        """Start something that may be stopped without the rest of the role, and let it go on until cancelled."""
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def fail(error: BaseException) -> None:
            if not failed.done():
                failed.set_exception(error)

        async with tasks(fail) as spawn:
            part = Role(self.engines, spawn)
            self._parts.append(part)
            try:
                await start(part)
                await failed
            finally:
                self._parts.remove(part)

    async def serve_each(self, start: Callable[[Role, Cluster], Awaitable[None]]) -> None:
        """Start this for every cluster that the process serves, as they come; what was started ends when they go."""
        clusters = await self.engines.clusters()

        async def serve(cluster: Cluster) -> None:
            await self.part(lambda part: start(part, cluster))

        self.spawn(self.engines.fleet.serve(clusters, serve, self.spawn))

    async def drive(
        self,
        processor: Processor,
        topics: list[str],
        consumers: str | None,
        *,
        by_cluster: bool = False,
        prompt: bool = False,
    ) -> None:
        driver = await self.engines.driver(processor, topics, consumers, by_cluster=by_cluster, prompt=prompt)
        # A scheduler holds a batch for as long as its cluster is full.
        if not isinstance(processor, Scheduler):
            self._drivers.append(driver)
        self.spawn(driver.run())


async def ledger(role: Role) -> None:
    """Folds the log into the projections, and announces how runs ended."""
    engines = role.engines
    now = engines.machine.clock
    store, journal = await engines.store(), await engines.journal("ledger")
    role.spawn(_fold(role, Ledger(store, journal, now), await engines.log()))
    await role.drive(Notifications(store, journal, now), [RUNS], "notifications")


async def _fold(role: Role, ledger: Ledger, log: EventLog) -> None:
    """Until cancelled. Folds the requests of every cluster that there is, or was: the watermark needs them all."""
    engines = role.engines
    folded: set[str] = set()
    folding: asyncio.Task[None] | None = None

    async def fold(part: Role) -> None:
        await part.drive(ledger, [*sorted(folded), RUNS], engines.ledgers, prompt=True)

    while True:
        there = {topic for topic in await retry(log.topics) if topic.startswith(REQUESTS)}
        for name in engines.every_cluster():
            if requests_of(name) not in there:
                await _make_topic(engines, name)
        if there - folded:
            if folding is not None:
                await stop(folding)
            folded |= there
            folding = role.spawn(role.part(fold))
        await asyncio.sleep(_LOOK_AGAIN)


async def _make_topic(engines: Engines, cluster: str) -> None:
    """Everybody else waits until it is there, and is tried again while it cannot be made."""
    try:
        await engines.make_topic_of(cluster)
    except (ConfigError, Unavailable) as error:
        _log.warning("topic_not_made", cluster=cluster, problem=str(error))


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
    cordons = await role.cordons()
    reconciler = Reconciler(context, clusters, oversight, waits, lambda: cordons.standing)
    role.spawn(reconciler.run(limits.reconcile_interval))
    sweeper = await _sweeper(engines, "supervisor")
    role.spawn(sweeper.run(engines.config.garbage.interval))


async def scheduler(role: Role) -> None:
    """Makes Jobs of requests, each cluster at its own pace."""
    engines = role.engines
    context, log, urls = await engines.context("scheduler"), await engines.log(), await engines.urls()
    cordons = await role.cordons()
    source = f"scheduler/{engines.machine.name}"
    limits, placement = engines.config.throttle, engines.config.placement
    variables = engines.job_variables()

    async def serve(part: Role, cluster: Cluster) -> None:
        requests = requests_of(cluster.name)
        while requests not in await retry(log.topics):  # noqa: ASYNC110 - a ledger makes it
            await asyncio.sleep(_LOOK_AGAIN)
        placer = Placer(
            context,
            cluster,
            Pace(TokenBucket(limits.rate, limits.burst), limits.in_flight),
            placement.denied_grace,
            engines.materializer(),
            urls,
            variables,
            cordons.hold,
        )
        placing = Scheduler(
            context,
            placer,
            LookAhead[Ack](limits.window),
            _pending(engines),
            placement.defer_after,
            part.spawn,
        )
        await part.drive(placing, [requests], f"scheduler-{cluster.name}", by_cluster=True)
        await part.drive(Starts(context, placing), [RUNS], None)
        part.spawn(placing.run())
        part.spawn(_judge(role, context, cluster))
        part.spawn(_tell(context.store, cluster, partial(placing.figures, source)))

    await role.serve_each(serve)


async def _tell(store: RunStore, cluster: Cluster, figures: Callable[[], Awaitable[Figures]]) -> None:
    """Until cancelled: what a process knows of a cluster is for whoever looks, and holds up nothing."""
    while True:
        await asyncio.sleep(_TELL_AGAIN)
        try:
            told = replace(await figures(), nexus=(__version__,), kubernetes=await _version(cluster))
            await store.note_figures([told])
        except Unavailable as error:
            _log.debug("figures_not_told", cluster=cluster.name, problem=str(error))


async def _version(cluster: Cluster) -> str:
    try:
        return await cluster.version()
    except Unavailable:
        return ""


async def _judge(role: Role, context: Context, cluster: Cluster) -> None:
    """Templates that cannot be read yet delay verdicts, and no Job."""
    templates = await retry(role.templates, "templates_not_read")
    await Judge(context, cluster, templates, role.engines.materializer()).run()


async def watcher(role: Role) -> None:
    """Publishes what the clusters show of our runs."""
    engines = role.engines
    journal = await engines.journal("watcher")

    async def serve(part: Role, cluster: Cluster) -> None:
        leadership = engines.leadership(cluster, "watcher")
        part.spawn(leadership.lead(partial(_watch, cluster, journal, engines.machine.clock)))

    await role.serve_each(serve)


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

    async def sync(_term: int) -> None:
        controller = Controller(
            home,
            {},
            config.placement.installation,
            removed=config.kubernetes.removed_clusters,
            clock=machine.clock,
            monotonic=machine.monotonic,
            chance=machine.chance,
        )

        async def serve(shard: Objects) -> None:
            async def opened() -> Objects:
                return shard

            if shard.name != home.name:
                await controller.sync(shard.name, opened)

        async with asyncio.TaskGroup() as group:
            # First, so that the controller knows the shards when it reads the sources.
            group.create_task(engines.fleet.serve(engines.synced(), serve, group.create_task))
            group.create_task(controller.run())

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
    store, clock, clusters = await engines.store(), engines.machine.clock, engines.fleet.found.keys()
    verdicts = Verdicts(store, clusters, clock)
    role.spawn(verdicts.follow())
    journal, reports = await engines.journal("api"), _reports(engines)
    access = await role.gate.access(role.spawn)
    if config.auth.reports != "open":
        algorithms = Algorithms(
            engines.capabilities(), reports.first, store.get, journal, clock, access.rules
        )
        access = access._replace(algorithms=algorithms)

    async def garbage(limit: int) -> GarbageReport:
        """Only here does an API ask the clusters, so that it opens them only for this."""
        return await (await _sweeper(engines, "api")).report(limit)

    return ApiContext(
        journal=journal,
        store=store,
        claims=await engines.claims(),
        payloads=await engines.payloads(),
        templates=templates,
        signer=engines.signer(),
        urls=await engines.urls(),
        materializer=engines.materializer(),
        verdicts=verdicts,
        queues=Queues(store, clock),
        clusters=clusters,
        is_followed=Followed(await engines.log(), store),
        cordons=await engines.cordons(),
        removed=config.kubernetes.removed_clusters,
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
        access=access,
        reports=reports,
        max_body=config.http.max_body,
        bodies=BodyLimits(
            timeout=config.http.body_timeout.total_seconds(),
            memory=config.http.body_memory,
            disk=config.http.body_disk,
            folder=engines.body_folder,
        ),
    )


def _reports(engines: Engines) -> Reports:
    mode = engines.config.auth.reports
    return Reports(mode, None if mode == "open" else engines.capabilities())


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
