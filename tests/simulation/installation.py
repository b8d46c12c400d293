"""A whole Nexus in one thread: servers, clusters and processes, which come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from nexus.composition.roles import STREAMS, Role, api_context
from nexus.config import (
    Auth,
    Config,
    Garbage,
    Grace,
    Log,
    Payload,
    Placement,
    SigningKey,
    Span,
    SpanOrNever,
    Supervision,
    Throttle,
)
from nexus.config import Http as HttpConfig
from nexus.domain.topics import CLUSTERS, DEAD_LETTERS, OBSERVATIONS, RESULTS, RUNS, requests_of
from tests.simulation.chance import Chance
from tests.simulation.cluster import Site
from tests.simulation.driver import Brokers
from tests.simulation.engines import START, Servers, SimulatedEngines, machine
from tests.simulation.faults import Faults, Trace
from tests.simulation.groups import Groups
from tests.simulation.http import Http
from tests.simulation.kubelet import Kubelet
from tests.simulation.log import Broker
from tests.simulation.loop import IDLE, Process, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.stores import ClaimsModel, Projections
from tests.support.cluster_model import ClusterModel

__all__ = ["Installation", "Slot"]

SKEW = 0.045
"""Seconds by which a clock may be wrong: two of them differ by less than is allowed for."""
INLINE = 64
_PROVING = Auth(reports="capability", report_allowance=Span(seconds=5))

TOPOLOGIES: Sequence[Sequence[Sequence[str]]] = (
    [["api", "receiver", *STREAMS]],
    [["api", "receiver"], ["ledger"], ["supervisor"], ["scheduler"], ["watcher"]],
    [["api", "receiver"], ["ledger", "supervisor"], ["ledger", "scheduler"], ["scheduler", "watcher"]],
    [
        ["api"],
        ["receiver", "api"],
        ["ledger"],
        ["ledger"],
        ["scheduler", "watcher"],
        ["scheduler", "watcher"],
        ["supervisor"],
    ],
    [
        ["api", "receiver"],
        ["ledger"],
        ["supervisor"],
        ["supervisor"],
        ["scheduler"],
        ["scheduler"],
        ["watcher"],
    ],
)


class Slot:
    """Where a process of some roles runs, one after the other."""

    def __init__(self, name: str, roles: Sequence[str]) -> None:
        self.name = name
        self.roles = roles
        self.starts = 0
        self.process: Process | None = None
        self.wanted = True

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive


class Installation:
    def __init__(self, loop: VirtualLoop, chance: Chance, faults: Faults, trace: Trace) -> None:
        self.loop = loop
        self.trace = trace
        self.faults = faults
        self.chance = chance.child("installation")
        self.network = Network(loop, chance.child("network"), faults, trace)
        self.network.crash = self.crash
        self.config = _config(self.chance)
        # Not drawn from what decides the rest: with capabilities and without, a seed is the same otherwise.
        self.thief = Chance(f"thief/{self.config.placement.deadline}")
        self.proving = self.thief.one_in(2)
        """Whether algorithms have to prove which run they are."""
        if self.proving:
            self.config = replace(self.config, auth=_PROVING)
        skews: dict[object, float] = {}

        def clock(at: object) -> float:
            skew = skews.setdefault(at, self.chance.between(-SKEW, SKEW))
            return (START + timedelta(seconds=loop.time() + skew)).timestamp()

        self.log = Broker(clock)
        clusters = ["east", "west"] if self.chance.one_in(3) else ["east"]
        later = "west" if len(clusters) > 1 and self.chance.one_in(2) else ""
        self.topics = {
            RUNS: self.config.log.run_partitions,
            **{requests_of(name): self.config.log.request_partitions for name in clusters if name != later},
            OBSERVATIONS: self.config.log.run_partitions,
            RESULTS: 1,
            DEAD_LETTERS: 1,
            CLUSTERS: 1,
        }
        self.log.add(self.topics)
        self.groups = Groups(self.log.counts, loop, chance.child("groups"), self.network)
        self.projections = Projections()
        self.http = Http(loop, chance.child("http"), faults, trace)
        self.http.serving = self._serving
        self.sites = {name: self._site(name, chance.child(name)) for name in clusters}
        self.configured = {name: site for name, site in self.sites.items() if name != later}
        """Whose kubeconfigs are there now."""
        if later:  # it comes for the first time, and its topic has yet to be made
            loop.in_world(self.chance.between(0.0, 9.0), self._add, later)
        self._servers = Servers(
            self.config,
            Brokers(self.log, self.groups, self.network, faults, chance.child("consumers")),
            self.projections,
            ClaimsModel(),
            {},
            self.sites,
            self.configured,
            {},
        )
        self.payloads = self._servers.payloads
        self.rights = self._servers.rights
        self.slots = [
            Slot(f"{'+'.join(role[:3] for role in roles)}-{nth}", roles)
            for nth, roles in enumerate(self.chance.of(TOPOLOGIES))
        ]
        self.processes: list[Process] = []
        self.lost = ""
        """A cluster that never comes back."""
        self.died: list[str] = []
        """Roles that ended of themselves, and by what: none ever should."""

    def _add(self, cluster: str) -> None:
        if cluster not in self.configured:
            self.network.say(cluster, "has a kubeconfig")
            self.configured[cluster] = self.sites[cluster]

    def _site(self, name: str, chance: Chance) -> Site:
        def now() -> Any:
            return START + timedelta(seconds=self.loop.time())

        model = ClusterModel(now, chance.uuid, name)
        thief = self.thief if self.proving else None
        Kubelet(model, self.loop, chance.child("kubelet"), self.faults, self.trace, self._report, thief)
        return Site(model, self.network, self.faults, chance, self.loop, {})

    async def _report(self, path: str, body: bytes) -> int | None:
        answer = await self.http.call("POST", path, body)
        return answer.status if answer else None

    def _serving(self) -> Sequence[Process]:
        return [
            slot.process for slot in self.slots if "api" in slot.roles and slot.process and slot.process.alive
        ]

    # Processes

    def start(self, slot: Slot) -> None:
        slot.starts += 1
        process = Process(f"{slot.name}.{slot.starts}", self.chance.between(-SKEW, SKEW))
        self.processes.append(process)
        slot.process = process
        self.network.say(process, "starts")
        self.loop.within(process, lambda: self._spawn(process, self._serve(process, slot.roles)))

    async def _serve(self, process: Process, roles: Sequence[str]) -> None:
        """As `nexus.composition.serving` does."""
        engines = SimulatedEngines(
            self._servers, machine(self.loop, process, self.chance.child("")), self.loop
        )
        role = Role(engines, lambda work: self._spawn(process, work))
        role.spawn(engines.fleet.follow())
        for name, start in STREAMS.items():
            if name in roles:
                await start(role)
        if "api" in roles:
            self.http.serve(process, await api_context(role))

    def _spawn(self, process: Process, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()):
                self.died.append(f"{process} at {self.loop.time():.3f} by {error!r}")
                self.crash(process, f"by {error!r}")

        task = self.loop.create_task(work)
        task.add_done_callback(ended)
        process.work.append(task)
        return task

    def crash(self, process: Process, why: str = "") -> None:
        if not process.alive or process is self.loop.world:
            return
        self.network.say(process, f"is killed {why}")
        self.loop.kill(process)
        self.groups.lost(process)
        for slot in self.slots:
            if slot.process is process and slot.wanted:
                self.loop.in_world(self.chance.between(0.1, 5.0), self._start_again, slot)

    def stop(self, slot: Slot) -> None:
        """In order: its tasks are cancelled, and end what they do."""
        process = slot.process
        if process is None or not process.alive:
            return
        self.network.say(process, "is stopped")
        for task in process.work:
            self.loop.within(process, task.cancel)
        self.loop.in_world(6.0, self.crash, process, "at the end of its patience")

    def pause(self, process: Process, seconds: float) -> None:
        self.network.say(process, f"stands still for {seconds:.1f} s")
        self.loop.pause(process)
        self.groups.lost(process)
        self.loop.in_world(seconds, self.go_on, process)

    def go_on(self, process: Process) -> None:
        if process.paused and process.alive:
            self.network.say(process, "goes on")
            self.loop.resume(process)
            self.groups.back(process)

    def _start_again(self, slot: Slot) -> None:
        if slot.wanted and not slot.alive:
            self.start(slot)

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self.network.say("world", "heals")
        self.faults.on = False
        self.loop.looks = IDLE
        self.network.heal()
        for cluster in self.sites:
            self._add(cluster)
        for process in self.processes:
            self.go_on(process)
        for group in self.groups.all.values():
            for member in group.everybody:
                if member.deaf:
                    member.deaf = False
                    group.back(member)

    def lose_a_cluster(self) -> None:
        """For good: what runs there is never heard of again."""
        site = self.chance.of([*self.sites.values()])
        self.lost = site.model.name
        self.network.say(self.lost, "is gone for good")
        self.faults.injected["cluster lost"] += 1
        self.network.cut_off(f"cluster {self.lost}", float("inf"))
        site.end_watches()

    def close(self) -> None:
        self.http.close(self.processes)
        for process in [*self.processes, self.loop.world]:
            self.loop.bury(process)


def _config(chance: Chance) -> Config:
    def seconds(least: float, most: float) -> Span:
        return Span(seconds=chance.between(least, most))

    return Config(
        http=HttpConfig(
            external_url="http://nexus.test", receiver_url="http://nexus.test", read_wait=Span(seconds=3)
        ),
        payload=Payload(inline_limit=INLINE, sign_secret=SigningKey("secret")),  # type: ignore[arg-type]
        log=Log(run_partitions=chance.of([1, 2, 3]), request_partitions=chance.of([1, 2, 3])),
        placement=Placement(deadline=seconds(20, 60), defer_after=seconds(2, 6), denied_grace=seconds(4, 12)),
        throttle=Throttle(
            rate=chance.of([2.0, 50.0]),
            burst=chance.of([1.0, 10.0]),
            pending_floor=chance.of([1, 4]),
            pending_grace=Span(seconds=5),
            window=chance.of([1, 3, 100]),
            in_flight=chance.of([1, 4]),
        ),
        supervision=Supervision(
            collect_interval=seconds(0.5, 2),
            linger=seconds(1, 4),
            reconcile_interval=seconds(1, 4),
            check_after=(after := seconds(2, 5)),
            missed_after=after,
            unreachable_after=Span(seconds=6),
            max_unreachable=Span(seconds=15),
        ),
        grace=Grace(**{name: SpanOrNever(seconds=chance.between(2, 30)) for name in Grace.__struct_fields__}),
        garbage=Garbage(
            interval=seconds(1, 4),
            job_grace=seconds(4, 8),
            payload_grace=seconds(70, 80),
            payload_retention=seconds(70, 80),
        ),
    )
