"""Consumer groups as a broker keeps them: who is a member, who has which partition, what is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka.errors import CommitFailedError

from nexus.ports import Partition
from tests.simulation.chance import Chance
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import Network

__all__ = ["Group", "Groups", "Member"]

SESSION = 3.0
"""Seconds after which a member that is not heard is given up."""
_REBALANCE = 8.0
"""Seconds that a group waits for its members to come back to it."""
_HEARTBEAT = 1.0


class Member:
    """One consumer. `deaf`: it neither reaches the group nor hears from it, and goes on."""

    def __init__(self, process: Process, topics: Sequence[str]) -> None:
        self.process = process
        self.topics = topics
        self.deaf = False
        self.stopped = False
        self.generation = -1
        self.told = asyncio.Event()
        """It has heard that it must join anew."""
        self.joining: asyncio.Future[list[Partition] | None] | None = None

    @property
    def heard(self) -> bool:
        return self.process.alive and not (self.process.paused or self.deaf or self.stopped)


class Group:
    """Everything is taken from everybody at each change, and given out anew: eager rebalancing."""

    def __init__(
        self, name: str, counts: Mapping[str, int], loop: VirtualLoop, chance: Chance, network: Network
    ) -> None:
        self.name = name
        self.generation = 0
        self.committed: dict[Partition, int] = {}
        self.members: list[Member] = []
        self.everybody: list[Member] = []
        """Also those that were given up, and may not know it."""
        self._counts = counts
        self._loop = loop
        self._chance = chance
        self._network = network
        self._round = 0
        self._preparing = False

    def join(self, member: Member) -> asyncio.Future[list[Partition] | None]:
        """What is the member's, once everybody has come back or was given up; None where it was given up itself."""
        member.joining = self._loop.create_future()
        member.told.clear()
        if member not in self.members:
            self.members.append(member)
        if member not in self.everybody:
            self.everybody.append(member)
        if not self._preparing:
            self._prepare(f"{member.process} joins")
        self._complete_if_all_are_here()
        return member.joining

    def leave(self, member: Member, why: str = "leaves") -> None:
        if member in self.members:
            self.members.remove(member)
            if member.joining and not member.joining.done():
                member.joining.set_result(None)
            self._prepare(f"{member.process} {why}")
            self._complete_if_all_are_here()

    def commit(self, member: Member, generation: int, offsets: Mapping[Partition, int]) -> None:
        """Raises CommitFailedError for who is a member no more, or was another one when it was sent."""
        if member not in self.members or generation != self.generation:
            raise CommitFailedError(f"{member.process} is of generation {generation} of {self.name}")
        self.committed.update(offsets)

    def lost(self, member: Member) -> None:
        """It is not heard any more; if that is so for a session, it is given up."""
        self._loop.in_world(SESSION, self._give_up, member)

    def back(self, member: Member) -> None:
        """It is heard again, and hears what it has missed."""
        if member not in self.members or self._preparing:
            self._tell(member)

    def _give_up(self, member: Member) -> None:
        if not member.heard:
            self.leave(member, "is given up")

    def _prepare(self, why: str) -> None:
        self._preparing = True
        self._round += 1
        self._network.say(self.name, f"rebalances: {why}")
        for member in self.members:
            if member.joining is None or member.joining.done():
                self._tell(member)
        self._loop.in_world(_REBALANCE, self._close, self._round)

    def _tell(self, member: Member) -> None:
        """With its next heartbeat."""
        self._loop.in_world(_HEARTBEAT * self._chance.unit(), self._heartbeat, member)

    def _heartbeat(self, member: Member) -> None:
        if member.heard and (member.joining is None or member.joining.done()):
            member.told.set()

    def _close(self, round_: int) -> None:
        """Who has not come back by now is out."""
        if self._preparing and round_ == self._round:
            self.members = [member for member in self.members if _waits(member)]
            self._complete_if_all_are_here()

    def _complete_if_all_are_here(self) -> None:
        if not self._preparing or not all(map(_waits, self.members)):
            return
        self._preparing = False
        self.generation += 1
        given: list[list[Partition]] = [[] for _ in self.members]
        every = [
            Partition(topic, number)
            for topic in dict.fromkeys(topic for member in self.members for topic in member.topics)
            for number in range(self._counts[topic])
        ]
        for nth, partition in enumerate(every):
            takers = [at for at, member in enumerate(self.members) if partition.topic in member.topics]
            given[takers[nth % len(takers)]].append(partition)
        for member, mine in zip(self.members, given, strict=True):
            member.generation = self.generation
            if member.joining and not member.joining.done():
                member.joining.set_result(mine)


def _waits(member: Member) -> bool:
    return member.joining is not None and not member.joining.done()


class Groups:
    """All groups of a broker."""

    def __init__(
        self, counts: Mapping[str, int], loop: VirtualLoop, chance: Chance, network: Network
    ) -> None:
        self._counts = counts
        self._loop = loop
        self._chance = chance
        self._network = network
        self.all: dict[str, Group] = {}

    def named(self, name: str) -> Group:
        if name not in self.all:
            self.all[name] = Group(name, self._counts, self._loop, self._chance, self._network)
        return self.all[name]

    def lost(self, process: Process) -> None:
        for group, member in self._of(process):
            group.lost(member)

    def back(self, process: Process) -> None:
        for group, member in self._of(process):
            group.back(member)

    def _of(self, process: Process) -> list[tuple[Group, Member]]:
        return [
            (group, member)
            for group in self.all.values()
            for member in group.everybody
            if member.process is process
        ]
