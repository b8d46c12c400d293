"""One seed: a Nexus in bad weather, then in good weather, then nothing that should not be."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from nexus.journal import Journal
from streams.audit import Verification, fold_log, verify
from streams.ledger.ledger import Ledger
from tests.simulation.chance import Chance
from tests.simulation.clients import Clients
from tests.simulation.faults import Faults, Trace
from tests.simulation.installation import Installation
from tests.simulation.invariants import Invariants
from tests.simulation.loop import VirtualLoop
from tests.simulation.stores import Projections, SimulatedRunStore
from tests.simulation.tenants import CROWD, SINGLE
from tests.simulation.weather import Weather

__all__ = ["Outcome", "simulate"]

_STORM = (4.0, 20.0)
"""Seconds of bad weather."""
_PATIENCE = 240.0
"""Seconds after that in which everything must have ended."""
_AFTER = 6.0
"""Seconds for which nothing may happen then."""
_HEARD, _CORDONED = 6.0, 6.0
"""Seconds after which every scheduler has heard of a cordon, and for which it then lasts."""
_CROWD, _SLOW, _GOOD_TIME = 24, 2.0, 30.0
"""Runs of a crowd, Jobs a second at which it is one, and seconds in which some of them have Jobs."""
_FOLDED = 1.0
"""Seconds in which a ledger has folded whatever is in the log."""


class Outcome(NamedTuple):
    """`broken`: what did not hold. `trace`: what happened."""

    seed: int
    broken: list[str]
    trace: Trace
    injected: Counter[str]
    runs: int
    seconds: float
    """Of virtual time."""
    steps: int
    command: str = "make simulate SEED"

    @property
    def again(self) -> str:
        """What a person types to see it again."""
        return f"{self.command}={self.seed}"


def simulate(seed: int, without: Sequence[str] = ()) -> Outcome:
    chance = Chance(seed)
    random.seed(seed)  # what spreads the pauses of `nexus.backoff`
    loop = VirtualLoop(chance.child("loop"))
    trace = Trace()
    faults = Faults(chance.child("faults"), without)
    problems: list[str] = []

    def note(_: object, context: dict[str, Any]) -> None:
        # Of the killed, nobody asks what became of their calls.
        if "callback" in context["message"] or "Task exception" in context["message"]:
            problems.append(f"simulation: {context['message']}: {context.get('exception')!r}")

    loop.set_exception_handler(note)
    installation = Installation(loop, chance, faults, trace)
    invariants = Invariants(installation)
    clients = Clients(installation, chance.child("clients"))
    weather = Weather(installation, chance.child("weather"))
    direction = _direct(installation, clients, weather, invariants, chance)
    try:
        task = loop.within(loop.world, lambda: loop.create_task(direction))
        loop.run_until_complete(task)
    except RuntimeError as error:
        invariants.broken.append(f"quiescence: {error}")
    finally:
        installation.close()
        loop.close()
    invariants.broken += problems
    runs = len(installation.projections.rows)
    return Outcome(seed, invariants.broken, trace, faults.injected, runs, loop.time(), loop.steps)


async def _direct(
    installation: Installation, clients: Clients, weather: Weather, invariants: Invariants, chance: Chance
) -> None:
    loop = installation.loop
    for slot in installation.slots:
        installation.start(slot)
    storm = chance.between(*_STORM)
    clients.begin(1 + chance.below(8), storm)
    weather.begin()
    await asyncio.sleep(storm)
    installation.heal()
    if chance.one_in(3):
        await _cordon(installation, clients, invariants, chance.child("cordon"))
    throttle = installation.config.throttle
    if throttle.window > _CROWD and throttle.rate <= _SLOW and throttle.pending_floor > 1:
        await _crowd(installation, clients, invariants)
    if len(installation.sites) > 1 and chance.one_in(4):
        installation.lose_a_cluster()
    give_up = loop.time() + _PATIENCE
    while clients.busy or invariants.unfinished():
        if loop.time() > give_up:
            invariants.broken += [f"quiescence: {left}" for left in invariants.unfinished()]
            break
        await asyncio.sleep(1.0)
    else:
        await asyncio.sleep(_AFTER)
    invariants.check(clients)
    invariants.broken += await _differences(installation)


async def _cordon(
    installation: Installation, clients: Clients, invariants: Invariants, chance: Chance
) -> None:
    """In good weather, when every scheduler hears of it: nothing is started there until it is given Jobs again."""
    name = chance.of([*installation.sites])
    site = installation.sites[name]
    if await clients.ask_for(f"/api/v1/clusters/{name}/cordon"):
        clients.begin(2, 1.0)
        await asyncio.sleep(_HEARD)
        before = sum(map(len, site.makings.values()))
        await asyncio.sleep(_CORDONED)
        if (after := sum(map(len, site.makings.values()))) > before:
            invariants.broken.append(
                f"cordon: {after - before} Jobs were made on {name} while it was cordoned"
            )
    # What waited goes on, or the simulation finds that it does not end.
    while not await clients.ask_for(f"/api/v1/clusters/{name}/uncordon"):
        await asyncio.sleep(1.0)


async def _crowd(installation: Installation, clients: Clients, invariants: Invariants) -> None:
    """In good weather: one run of a tenant passes by most of what another has queued, of the same algorithm."""
    crowd = await clients.crowd(CROWD, _CROWD)
    await _made(installation, crowd, _CROWD // 4)
    single = await clients.crowd(SINGLE, 1)
    before = _jobs_of(installation, crowd)
    if await _made(installation, single, 1):
        passed = _jobs_of(installation, crowd) - before
        if passed > _CROWD // 2:
            invariants.broken.append(
                f"fairness: {passed} Jobs of a crowd were made before the one of another"
            )


async def _made(installation: Installation, runs: Sequence[str], many: int) -> bool:
    """Whether so many of the runs had Jobs in good time: faults of before may have ended some."""
    give_up = installation.loop.time() + _GOOD_TIME
    while _jobs_of(installation, runs) < many:
        if installation.loop.time() > give_up:
            return False
        await asyncio.sleep(0.1)
    return True


def _jobs_of(installation: Installation, runs: Sequence[str]) -> int:
    return sum(run in site.makings for site in installation.sites.values() for run in runs)


async def _differences(installation: Installation) -> list[str]:
    """Between the projections and a fresh fold of the log, while nothing is added to it: payloads are still collected."""
    log = installation.log
    while True:
        ends = log.ends()
        await asyncio.sleep(_FOLDED)
        found = await _compared(installation)
        if log.ends() == ends:
            return [f"fresh fold: {it.request_id}: {it.problem} {it.fields}" for it in found.differences]


async def _compared(installation: Installation) -> Verification:
    log, network = installation.log, installation.network
    there = SimulatedRunStore(installation.projections, network)
    fresh = SimulatedRunStore(Projections(), network)
    reader = _Reader(log)
    await fold_log(reader, Ledger(fresh, Journal(reader, "simulation"), lambda: None))
    return await verify(there, fresh)


class _Reader:
    """The log of a fold that says nothing."""

    def __init__(self, broker) -> None:
        self._broker = broker

    async def topics(self):
        return self._broker.counts

    async def read(self, topic, partition, offset, limit):
        return self._broker.partitions[topic, partition][offset : offset + limit]

    async def append(self, records):
        return []
