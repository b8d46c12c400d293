"""The engines of one process of a simulation: what every role is put together on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from nexus.composition.engines import Engines, Machine
from nexus.composition.fleet import Fleet, Opened
from nexus.config import Config
from nexus.domain.topics import requests_of
from nexus.ports import Claims, Cluster, EventLog, Leadership, PayloadStore, RunStore, Templates
from streams.processor import Driver, Processor
from tests.simulation.chance import Chance
from tests.simulation.cluster import SimulatedCluster, Site
from tests.simulation.driver import Brokers, SimulatedDriver
from tests.simulation.leadership import Right, SimulatedLeadership
from tests.simulation.log import SimulatedLog
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.stores import (
    ClaimsModel,
    Projections,
    SimulatedClaims,
    SimulatedPayloads,
    SimulatedRunStore,
)
from tests.simulation.templates import SimulatedTemplates

__all__ = ["START", "Servers", "SimulatedEngines", "machine"]

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
"""When a simulation begins, by a clock that is right."""


class Servers(NamedTuple):
    """What lies behind the ports of every process."""

    config: Config
    brokers: Brokers
    projections: Projections
    claims: ClaimsModel
    payloads: dict[str, tuple[bytes, datetime]]
    sites: Mapping[str, Site]
    configured: dict[str, Site]
    """Those whose kubeconfigs are there now."""
    rights: dict[str, Right]


def machine(loop: VirtualLoop, process: Process, chance: Chance) -> Machine:
    """A clock that is a little wrong, and a counter of seconds that began at some time."""
    began = chance.between(0, 1000)

    def clock() -> datetime:
        return START + timedelta(seconds=loop.time() + process.skew)

    def new_id() -> str:
        bits = f"{int(clock().timestamp() * 1000):012x}7{chance.bits(12):03x}{8 + chance.below(4):x}{chance.bits(60):015x}"
        return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"

    return Machine(process.name, clock, lambda: began + loop.time(), chance.unit, new_id)


class SimulatedEngines(Engines):
    def __init__(self, servers: Servers, machine: Machine, loop: VirtualLoop) -> None:
        super().__init__(servers.config, None, AsyncExitStack(), machine)
        self._servers = servers
        self._loop = loop
        self._network = servers.brokers.network
        self._simulated_log = SimulatedLog(servers.brokers.log, self._network)
        self.fleet = Fleet(servers.configured, lambda: (dict(servers.configured), []))
        self._simulated_clusters = Opened(self.fleet, lambda _, site: SimulatedCluster(site))

    async def make_topic_of(self, cluster: str) -> None:
        log, partitions = self._servers.brokers.log, self.config.log.request_partitions
        what = f"make the topic of {cluster}"
        await self._network.change("log", what, lambda: log.add({requests_of(cluster): partitions}))

    async def log(self) -> EventLog:
        return self._simulated_log

    async def driver(
        self,
        processor: Processor,
        topics: Sequence[str],
        consumers: str | None,
        *,
        by_cluster: bool = False,
        prompt: bool = False,
    ) -> Driver:
        return SimulatedDriver(
            self._servers.brokers,
            topics,
            processor,
            consumers=consumers,
            clock=self.machine.clock,
            batch=10,
            prompt=prompt,
        )

    async def store(self) -> RunStore:
        return SimulatedRunStore(self._servers.projections, self._network)

    async def claims(self) -> Claims:
        return SimulatedClaims(self._servers.claims, self._network)

    async def payloads(self) -> PayloadStore:
        return SimulatedPayloads(self._servers.payloads, self.machine.clock, self._network)

    async def templates(self) -> Templates:
        return SimulatedTemplates(list(self._servers.sites))

    async def clusters(self) -> Mapping[str, Cluster]:
        return self._simulated_clusters

    def leadership(self, cluster: Cluster, work: str) -> Leadership:
        return SimulatedLeadership(
            self._servers.rights.setdefault(f"{work} of {cluster.name}", Right()), self._loop
        )
