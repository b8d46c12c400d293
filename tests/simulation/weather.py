"""What goes wrong by itself, now and then, until the simulation heals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.simulation.chance import Chance
from tests.simulation.installation import Installation, Slot
from tests.simulation.loop import Process

__all__ = ["Weather"]

_JOINING = (["ledger"], ["scheduler"], ["supervisor"], ["watcher"], ["api", "receiver"])


class Weather:
    def __init__(self, installation: Installation, chance: Chance) -> None:
        self._installation = installation
        self._chance = chance
        self._loop = installation.loop
        self._network = installation.network
        self._kinds: dict[str, Callable[[], None]] = {
            "crash": self._crash,
            "pause": self._pause,
            "deaf member": self._deafen,
            "outage": self._outage,
            "cluster away": self._cut_off_cluster,
            "cluster taken away": self._take_away,
            "cluster refuses": self._refuse,
            "watch gap": self._break_watches,
            "job deleted": self._delete_job,
            "leader lost": self._take_leadership,
            "join": self._join,
        }

    def begin(self) -> None:
        for kind, pause in self._installation.faults.pauses.items():
            self._loop.create_task(self._go_on(kind, pause))

    async def _go_on(self, kind: str, pause: float) -> None:
        faults = self._installation.faults
        while True:
            await asyncio.sleep(pause * self._chance.between(0.2, 1.8))
            if not faults.on:
                return
            faults.injected[kind] += 1
            self._kinds[kind]()

    def _process(self) -> Process | None:
        alive = [slot.process for slot in self._installation.slots if slot.process and slot.process.alive]
        return self._chance.of(alive) if alive else None

    def _crash(self) -> None:
        if process := self._process():
            self._installation.crash(process)

    def _pause(self) -> None:
        if (process := self._process()) and not process.paused:
            self._installation.pause(process, self._chance.between(0.5, 9.0))

    def _deafen(self) -> None:
        members = [
            (group, member)
            for group in self._installation.groups.all.values()
            for member in group.members
            if member.heard
        ]
        if not members:
            return
        group, member = self._chance.of(members)
        seconds = self._chance.between(2.0, 9.0)
        self._network.say(member.process, f"is not heard by {group.name} for {seconds:.1f} s")
        member.deaf = True
        group.lost(member)

        def hear() -> None:
            member.deaf = False
            group.back(member)

        self._loop.in_world(seconds, hear)

    def _outage(self) -> None:
        self._cut_off(self._chance.of(["log", "store", "claims", "payloads"]))

    def _cut_off_cluster(self) -> None:
        site = self._chance.of([*self._installation.sites.values()])
        self._cut_off(f"cluster {site.model.name}")
        site.end_watches()

    def _take_away(self) -> None:
        """Each process notices both at its own next look."""
        configured = self._installation.configured
        if names := [*configured]:
            name = self._chance.of(names)
            seconds = self._chance.between(0.5, 8.0)
            self._network.say(name, f"has no kubeconfig for {seconds:.1f} s")
            site = configured.pop(name)
            self._loop.in_world(seconds, configured.setdefault, name, site)

    def _refuse(self) -> None:
        site = self._chance.of([*self._installation.sites.values()])
        seconds = self._chance.between(2.0, 12.0)
        self._network.say(site.model.name, f"refuses Jobs for {seconds:.1f} s")
        self._network.cut_off(f"admission of {site.model.name}", seconds)

    def _cut_off(self, port: str) -> None:
        seconds = self._chance.between(0.5, 8.0)
        self._network.say(port, f"is away for {seconds:.1f} s")
        self._network.cut_off(port, seconds)

    def _break_watches(self) -> None:
        for site in self._installation.sites.values():
            self._network.say(site.model.name, "says 410 to all watches")
            site.end_watches()

    def _delete_job(self) -> None:
        for site in self._installation.sites.values():
            if names := [*site.model.jobs]:
                name = self._chance.of(names)
                self._network.say(site.model.name, f"somebody deletes {name[-4:]}")
                site.model.lose(name)

    def _take_leadership(self) -> None:
        if rights := [*self._installation.rights.items()]:
            work, right = self._chance.of(rights)
            self._network.say(work, "goes to somebody else")
            right.held = 0

    def _join(self) -> None:
        slot = Slot(f"guest{len(self._installation.slots)}", self._chance.of(_JOINING))
        self._installation.slots.append(slot)
        self._installation.start(slot)

        def leave() -> None:
            slot.wanted = False
            self._installation.stop(slot)

        self._loop.in_world(self._chance.between(2.0, 12.0), leave)
