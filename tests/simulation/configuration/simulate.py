"""One seed: controllers of which one leads, users who change what is described, and clusters that come and go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from nexus.domain.manifest import TEMPLATE, WORKGROUP
from nexus.domain.sync.copies import SHARDS, labels
from nexus.domain.sync.objects import CONFIG_MAP, SECRET, SOURCES, Key
from nexus.domain.sync.references import references
from nexus.ports import Objects
from streams.controller.controller import Controller
from tests.simulation.chance import Chance
from tests.simulation.configuration.port import SimulatedObjects
from tests.simulation.configuration.server import Plain, Server
from tests.simulation.engines import START
from tests.simulation.faults import Faults, Trace
from tests.simulation.leadership import Right, SimulatedLeadership
from tests.simulation.loop import IDLE, Process, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.simulation import Outcome

__all__ = ["simulate_configuration"]

_STORM = (10.0, 60.0)
_COMPARE_EVERY = (30.0, 600.0)
_PATIENCE = 200.0
"""Seconds, beside three comparisons, in which all must be as it should be after the storm: the longest pause of a
retry is a minute."""
_CALM = 20
"""Changes by users while nothing goes wrong, which are followed without any comparison."""
_LATE = 10.0
"""Seconds after which what was written by those who led no more has arrived: a copy that nobody wants stays until the
next comparison."""
_QUIET = 120.0
"""Seconds for which nothing may be written then, with comparisons in them."""
_NAMES = ("a", "b", "c")
_NAMED = (SECRET, CONFIG_MAP)
OURS = labels("nexus")


def simulate_configuration(seed: int, without: Sequence[str] = ()) -> Outcome:
    chance = Chance(f"configuration/{seed}")
    random.seed(seed)
    loop = VirtualLoop(chance.child("loop"))
    world = _World(loop, chance, without)
    loop.set_exception_handler(world.note)
    try:
        loop.run_until_complete(loop.within(loop.world, lambda: loop.create_task(world.direct())))
    except RuntimeError as error:
        world.broken.append(f"quiescence: {error}")
    finally:
        for process in [*world.processes, loop.world]:
            loop.bury(process)
        loop.close()
    return Outcome(
        seed,
        world.broken,
        world.trace,
        world.faults.injected,
        world.changes,
        loop.time(),
        loop.steps,
        "python -m tests.simulation.configuration --seed",
    )


class _World:
    def __init__(self, loop: VirtualLoop, chance: Chance, without: Sequence[str]) -> None:
        self.loop = loop
        self.trace = Trace()
        self.faults = Faults(chance.child("faults"), without)
        self.broken: list[str] = []
        self.changes = 0
        self.processes: list[Process] = []
        self._chance = chance.child("world")
        self._network = Network(loop, chance.child("network"), self.faults, self.trace)
        self._network.crash = self._crash
        self._home = Server("home", chance.child("home"), collects=False)
        self._shards = {
            name: Server(name, chance.child(name), collects=self._chance.one_in(2))
            for name in ("eu", "us", "ap")[: 1 + self._chance.below(3)]
        }
        self._foreign: dict[tuple[str, Key], Plain] = {}
        self._right = Right()
        self._compare_every = self._chance.of(_COMPARE_EVERY)

    def note(self, _: object, context: dict[str, Any]) -> None:
        if "callback" in context["message"] or "Task exception" in context["message"]:
            self.broken.append(f"simulation: {context['message']}: {context.get('exception')!r}")

    async def direct(self) -> None:
        for nth in range(1 + self._chance.below(2)):
            self._start(nth, 1)
        end = self.loop.time() + self._chance.between(*_STORM)
        for kind, pause in self.faults.pauses.items():
            self.loop.create_task(self._weather(kind, pause))
        pause = self._chance.of([0.2, 1.0, 4.0])
        while self.loop.time() < end:
            self._user()
            await asyncio.sleep(pause * self._chance.between(0.1, 2.0))
        self._heal()
        await asyncio.sleep(_LATE)
        await self._comes_right(_PATIENCE + 3 * self._compare_every)
        await self._stays_so()
        for _ in range(_CALM):
            self._user()
            await asyncio.sleep(self._chance.between(0.0, 2.0))
        await self._comes_right(_PATIENCE)
        await self._stays_so()

    async def _comes_right(self, patience: float) -> None:
        give_up = self.loop.time() + patience
        while not self.broken and self._wrong():
            if self.loop.time() > give_up:
                self.broken += self._wrong()
            await asyncio.sleep(1.0)

    async def _stays_so(self) -> None:
        writes = self._writes()
        await asyncio.sleep(_QUIET)
        if (more := self._writes() - writes) > 0:
            self.broken.append(f"{more} writes although all was as it should be")
        self.broken += self._wrong()

    def _writes(self) -> int:
        return sum(server.writes for server in (self._home, *self._shards.values()))

    # Processes

    def _start(self, nth: int, start: int) -> None:
        process = Process(f"controller-{nth}.{start}")
        self.processes.append(process)
        self._network.say(process, "starts")
        self.loop.within(process, lambda: self._spawn(process, nth, start))

    def _spawn(self, process: Process, nth: int, start: int) -> None:
        process.again = nth, start + 1  # type: ignore[attr-defined]
        leadership = SimulatedLeadership(self._right, self.loop)
        task = self.loop.create_task(leadership.lead(self._sync))
        task.add_done_callback(partial(self._ended, process))

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.broken.append(f"{process} ended of itself: {task.exception()!r}")

    async def _sync(self, _term: int) -> None:
        def opens(server: Server) -> Callable[[], Awaitable[Objects]]:
            async def opened() -> Objects:
                return self._port(server)

            return opened

        await Controller(
            self._port(self._home),
            {name: opens(server) for name, server in self._shards.items()},
            "nexus",
            removed=(),
            clock=lambda: START + timedelta(seconds=self.loop.time()),
            monotonic=self.loop.time,
            chance=self._chance.unit,
            compare_every=timedelta(seconds=self._compare_every),
        ).run()

    def _port(self, server: Server) -> SimulatedObjects:
        return SimulatedObjects(server, self._network, self.faults, self._chance.child(""), self.loop)

    def _crash(self, process: Process, why: str = "") -> None:
        if not process.alive or process is self.loop.world:
            return
        self._network.say(process, f"is killed {why}")
        self.loop.kill(process)
        self.loop.in_world(self._chance.between(0.1, 5.0), self._start, *process.again)  # type: ignore[attr-defined]

    # Weather

    async def _weather(self, kind: str, pause: float) -> None:
        while True:
            await asyncio.sleep(pause * self._chance.between(0.2, 1.8))
            if not self.faults.on:
                return
            server = self._chance.of([self._home, *self._shards.values()])
            alive = [process for process in self.processes if process.alive and not process.paused]
            if kind == "crash" and alive:
                self._crash(self._chance.of(alive))
            elif kind == "pause" and alive:
                process = self._chance.of(alive)
                self._network.say(process, "stands still")
                self.loop.pause(process)
                self.loop.in_world(self._chance.between(0.5, 9.0), self._go_on, process)
            elif kind == "cluster away":
                # Once in a while for so long that deletions do not wait for it.
                seconds = 5000.0 if self._chance.one_in(8) else self._chance.between(0.5, 60.0)
                self._network.say(server.name, f"is away for {seconds:.1f} s")
                self._network.cut_off(f"cluster {server.name}", seconds)
                server.end_watches()
            elif kind == "watch gap":
                server.end_watches()
            elif kind == "leader lost":
                self._right.held = 0
            else:
                continue
            self.faults.injected[kind] += 1

    def _go_on(self, process: Process) -> None:
        if process.paused and process.alive:
            self.loop.resume(process)

    def _heal(self) -> None:
        self._network.say("world", "heals")
        self.faults.on = False
        self.loop.looks = IDLE
        self._network.heal()
        for server in (self._home, *self._shards.values()):
            server.end_watches()
        for process in self.processes:
            self._go_on(process)

    # Users

    def _user(self) -> None:
        """Changes something, here or behind the controller's back."""
        self.changes += 1
        chance = self._chance
        key = Key(chance.of([TEMPLATE, TEMPLATE, WORKGROUP, *_NAMED]), chance.of(_NAMES))
        if chance.one_in(4):
            self._meddle(key)
        elif chance.one_in(3):
            self._network.say("user", f"deletes {key}")
            self._home.delete(key)
        elif key.kind in SOURCES:
            found = self._home.object(key)
            if found and found.deleting:
                return
            chosen = {f"{SHARDS}{chance.of([*self._shards])}": ""} if chance.one_in(3) else {}
            self._network.say("user", f"puts {key} {chosen}")
            self._home.put(key, {"spec": self._spec(key.kind)}, labels=chosen)
        else:
            body: Plain = {"data": {"v": str(chance.below(100))}}
            if key.kind == SECRET:
                body["type"] = chance.of(["Opaque", "Opaque", "other"])
            if chance.one_in(4):
                body["immutable"] = True
            annotations = {"team": chance.of(["x", "y"])} if chance.one_in(3) else {}
            self._network.say("user", f"puts {key} {body}")
            self._home.delete(key)
            self._home.put(key, body, annotations=annotations)

    def _spec(self, kind: str) -> Plain:
        chance = self._chance
        spec: Plain = {"command": str(chance.below(100))}
        if kind == TEMPLATE:
            members = {SECRET: "secretRef", CONFIG_MAP: "configMapRef"}
            spec["runtimeEnvironment"] = {
                "mappedEnvironmentVariables": [
                    {members[chance.of(_NAMED)]: {"name": chance.of(_NAMES), "optional": chance.one_in(3)}}
                    for _ in range(chance.below(3))
                ]
            }
        return spec

    def _meddle(self, key: Key) -> None:
        """In a shard."""
        chance = self._chance
        name = chance.of([*self._shards])
        server = self._shards[name]
        found = server.things.get(key)
        if found is None:
            if chance.one_in(2):
                self._network.say("somebody", f"makes {key} in {name}")
                server.put(key, {"data": {"theirs": "1"}} if key.kind in _NAMED else {"spec": {"theirs": 1}})
                self._foreign[name, key] = server.things[key]
        elif (name, key) in self._foreign:
            if chance.one_in(2):
                self._network.say("somebody", f"deletes their {key} in {name}")
                del self._foreign[name, key]
                server.delete(key)
        elif chance.one_in(2):
            self._network.say("somebody", f"deletes the copy {key} in {name}")
            server.delete(key)
        elif key.kind in SOURCES:
            self._network.say("somebody", f"changes the copy {key} in {name}")
            server.put(key, {"spec": {"drift": 1}})

    # What must hold

    def _wrong(self) -> list[str]:
        """What is not as it should be, once nothing goes wrong any more."""
        wrong = [
            f"{key} waits for its deletion" for key, each in self._home.things.items() if _deleting(each)
        ]
        for name, server in self._shards.items():
            for (shard, key), before in self._foreign.items():
                if shard == name and server.things.get(key) != before:
                    wrong.append(f"{name}: {key} of others became {server.things.get(key)}")
            wrong += [f"{name}: {each}" for each in self._wrong_in(name, server)]
        return wrong + self._wrong_status()

    def _wrong_in(self, name: str, server: Server) -> list[str]:
        wrong = []
        users = self._users(name)
        for key in {*self._home.things, *server.things, *users}:
            if (name, key) in self._foreign:
                continue
            there, here = server.things.get(key), self._home.things.get(key)
            needed = any(needed for user in users.get(key, {}) for needed in [users[key][user]])
            meant = (_meant_for(here, name) if key.kind in SOURCES else key in users) if here else False
            if there is None:
                if meant and not (key.kind == TEMPLATE and self._blocked(key, name)):
                    wrong.append(f"{key} is missing")
            elif not meant:
                if not (key.kind in _NAMED and here is None and needed):
                    wrong.append(f"{key} should not be there")
            elif key.kind == TEMPLATE and self._blocked(key, name):
                continue
            elif _contents(there) != _contents(here or {}):
                wrong.append(f"{key} is {_contents(there)} and not {_contents(here or {})}")
            elif key.kind in _NAMED:
                copies = {
                    user: server.things.get(user) for user in users[key] if (name, user) not in self._foreign
                }
                uids = {each["metadata"]["uid"] for each in copies.values() if each}
                if {each["uid"] for each in there["metadata"]["ownerReferences"]} != uids:
                    wrong.append(f"{key} has the wrong owners")
        return wrong

    def _users(self, shard: str) -> dict[Key, dict[Key, bool]]:
        """What templates that go there name: by whom, and whether it is needed."""
        users: dict[Key, dict[Key, bool]] = {}
        for key, each in self._home.things.items():
            if key.kind == TEMPLATE and _meant_for(each, shard):
                for named, needed in references(each["spec"]).items():
                    users.setdefault(named, {})[key] = needed
        return users

    def _blocked(self, template: Key, shard: str) -> bool:
        """By something that is missing, or by what others made."""
        if (shard, template) in self._foreign:
            return True
        named = references(self._home.things[template]["spec"])
        return any(
            needed if key not in self._home.things else (shard, key) in self._foreign
            for key, needed in named.items()
        )

    def _wrong_status(self) -> list[str]:
        wrong = []
        for key, each in self._home.things.items():
            if key.kind not in SOURCES:
                continue
            conditions = {one["type"]: one for one in each.get("status", {}).get("conditions", [])}
            shards = [shard for shard in self._shards if _meant_for(each, shard)]
            blocked = [
                shard
                for shard in shards
                if (self._blocked(key, shard) if key.kind == TEMPLATE else (shard, key) in self._foreign)
            ]
            ready = conditions.get("Ready", {})
            if ready.get("status") != ("False" if blocked else "True"):
                wrong.append(f"{key} is blocked in {blocked} and says {ready}")
            elif {one["observedGeneration"] for one in conditions.values()} != {
                each["metadata"]["generation"]
            }:
                wrong.append(f"{key} says {conditions} of an older generation")
            if {name.removeprefix("SyncedTo-") for name in conditions} - {"Ready"} != {*shards}:
                wrong.append(f"{key} goes to {shards} and says {sorted(conditions)}")
        return wrong


def _deleting(thing: Plain) -> bool:
    return bool(thing["metadata"].get("deletionTimestamp"))


def _meant_for(thing: Plain, shard: str) -> bool:
    chosen = {label.removeprefix(SHARDS) for label in thing["metadata"].get("labels", {})}
    return not _deleting(thing) and (not chosen or shard in chosen)


def _contents(thing: Plain) -> Plain:
    """With the annotations, of which nobody else has any here."""
    names = ("spec", "data", "type", "immutable")
    contents = {name: thing[name] for name in names if name in thing}
    return contents | {"annotations": thing["metadata"].get("annotations", {})}
