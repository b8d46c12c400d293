"""What can be killed: each role's process, and each server or a part of it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence

import msgspec

from infra.services import Server
from tests.e2e.installation import Installation
from tests.support.own_servers import OwnServers

__all__ = ["ROLES", "SERVERS", "Hit", "Targets", "plan"]

ROLES = ("ledger", "ledger-2", "watcher", "supervisor", "scheduler", "scheduler-2", "receiver", "api")
SERVERS = ("kafka", "cassandra", "s3", "etcd", "apiserver")

_LONGEST = 8.0
"""Seconds that something is away at most, beside what it takes to start."""


class Hit(msgspec.Struct, frozen=True):
    """These are killed, each so many seconds after the one before, and started again when they were `away` for long."""

    names: Sequence[str]
    apart: float
    away: float

    def __str__(self) -> str:
        return f"{' and '.join(self.names)} ({self.apart:.1f} s apart, {self.away:.1f} s away)"


def plan(seed: int, pairs: int = 10) -> Iterator[Hit]:
    """Without end: everything once, alone; pairs; a broker in the middle of rebalances."""
    chance = random.Random(seed)
    everything = [*ROLES, *SERVERS]
    while True:
        for name in chance.sample(everything, len(everything)):
            yield Hit([name], 0.0, chance.uniform(0, _LONGEST))
        for pair in chance.sample(list(itertools.combinations(everything, 2)), pairs):
            yield Hit(chance.sample(pair, 2), chance.uniform(0, 1), chance.uniform(0, _LONGEST))
        for member in ("scheduler", "ledger"):
            # A member is started again at once, and the broker goes while the group is giving out its partitions.
            yield Hit([member], 0.0, 0.0)
            yield Hit(["kafka"], 0.0, 0.0)


class Targets:
    """The processes behind the names, to be killed and started again."""

    def __init__(self, nexus: Installation, servers: OwnServers) -> None:
        self._nexus = nexus
        self._servers = servers

    async def hit(self, hit: Hit) -> None:
        """Returns when all of it runs again: servers first, because roles wait for them."""
        for index, name in enumerate(hit.names):
            if index:
                await asyncio.sleep(hit.apart)
            await self._kill(name)
        await asyncio.sleep(hit.away)  # how long it is away is what this is about
        for name in sorted(
            hit.names, key=lambda name: (name not in SERVERS, SERVERS.index(name) if name in SERVERS else 0)
        ):
            await self._start(name)

    async def _kill(self, name: str) -> None:
        if name in ROLES:
            self._nexus.processes[name].kill()
        else:
            server, parts = self._server(name)
            await asyncio.to_thread(server.kill, *parts)

    async def _start(self, name: str) -> None:
        if name in ROLES:
            self._nexus.processes[name].launch()
        else:
            server, parts = self._server(name)
            await asyncio.to_thread(server.start, *parts)
            if server is self._servers.kubernetes:
                # It plays the kubelet, and forgets pods that it was told of just before it was cut off.
                await asyncio.to_thread(server.kill, "kwok")
                await asyncio.to_thread(server.start, "kwok")

    def _server(self, name: str) -> tuple[Server, Sequence[str]]:
        if name in {"etcd", "apiserver"}:
            return self._servers.kubernetes, [name]
        server: Server = getattr(self._servers, name)
        return server, []
