"""The port to the objects of a cluster from one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from nexus.domain.errors import Unavailable
from nexus.domain.sync.copies import Apply
from nexus.domain.sync.objects import Key, Object, Status
from nexus.domain.sync.status import Notice
from nexus.ports import ObjectChange, Objects
from tests.simulation.chance import Chance
from tests.simulation.configuration.server import Server
from tests.simulation.faults import Faults
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network

__all__ = ["SimulatedObjects"]


class SimulatedObjects(Objects):
    def __init__(
        self, server: Server, network: Network, faults: Faults, chance: Chance, loop: VirtualLoop
    ) -> None:
        self.name = server.name
        self._server = server
        self._network = network
        self._faults = faults
        self._chance = chance
        self._loop = loop
        self._port = f"cluster {server.name}"

    async def identity(self) -> str:
        return await self._network.read(self._port, lambda: self._server.uid)

    async def watch(self, kind: str) -> AsyncGenerator[list[Object] | list[ObjectChange]]:
        changes: asyncio.Queue[ObjectChange | None] = asyncio.Queue()
        lane = 0.0

        def travel(change: ObjectChange | None) -> None:
            nonlocal lane
            slow = self._faults.on and self._chance.one_in(10)
            lane = max(lane, self._loop.time() + self._chance.unit() * (2.0 if slow else 0.01))
            self._loop.in_world_at(lane, changes.put_nowait, change)

        def listen() -> list[Object]:
            self._server.watches[changes] = kind, travel
            return self._server.all(kind)

        listed = await self._network.read(self._port, listen)
        try:
            yield listed
            while change := await changes.get():
                yield [change]
            if self._network.is_away(self._port):
                raise Unavailable(f"{self._port} is away")
        finally:
            self._server.watches.pop(changes, None)

    async def apply(self, write: Apply) -> Object | None:
        def effect() -> Object | None:
            there = self._server.object(write.key)
            uid = write.found.metadata.uid if write.found else None
            if (there.metadata.uid if there else None) != uid:
                return None
            return self._server.apply(write.key, write.body)

        return await self._network.change(self._port, f"apply {write.key.kind} {write.key.name}", effect)

    async def delete(self, key: Key, uid: str) -> None:
        def effect() -> None:
            there = self._server.object(key)
            if there and there.metadata.uid == uid:
                self._server.writes += 1
                self._server.delete(key)

        await self._network.change(self._port, f"delete {key.kind} {key.name}", effect)

    async def set_finalizers(self, key: Key, found: Object, finalizers: Sequence[str]) -> Object | None:
        def effect() -> Object | None:
            there = self._server.object(key)
            if there is None or there.metadata.resource_version != found.metadata.resource_version:
                return None
            plain = self._server.things[key]
            return self._server.change(key, plain, metadata={"finalizers": list(finalizers)})

        return await self._network.change(
            self._port, f"finalizers {list(finalizers)} on {key.kind} {key.name}", effect
        )

    async def set_status(self, key: Key, found: Object, status: Status) -> Object | None:
        def effect() -> Object | None:
            there = self._server.object(key)
            if there is None or there.metadata.uid != found.metadata.uid:
                return None
            plain = self._server.things[key]
            return self._server.change(key, plain, status=msgspec.to_builtins(status))

        said = ", ".join(f"{each.type} {each.status} {each.reason}" for each in status.conditions or ())
        return await self._network.change(self._port, f"status of {key.kind} {key.name}: {said}", effect)

    async def record(self, key: Key, about: Object, notice: Notice, at: datetime) -> None:
        await self._network.change(
            self._port, f"Event {notice.reason} on {key.kind} {key.name}", lambda: None
        )
