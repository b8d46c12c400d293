"""What goes wrong in a simulation: which kinds, how often, and what went wrong so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tests.simulation.chance import Chance

__all__ = ["Faults", "Line", "Trace"]

AT_A_CALL = {
    "error": 1.0,  # refused, nothing happened
    "time-out": 1.0,  # it never arrived, and nobody says so
    "lost answer": 0.3,  # done, but reported as failed
    "late": 0.3,  # given up by the caller, and done afterwards
    "slow": 1.0,
    "crash before": 5.0,  # of the caller, when its question is on its way
    "crash after": 5.0,  # when it is done and not answered yet
    "refused": 0.03,  # a Job, by its cluster, for now
    "squatter": 0.1,  # somebody else's Job has the name of a run's
    "duplicate": 3.0,  # a consumer begins anew from what is committed
    "no answer": 0.05,  # to a client or an algorithm, whatever was done
}
"""And how rare each is: some can only befall calls that are rare themselves, and others stop everything."""

NOW_AND_THEN = (
    "crash",
    "pause",  # a process stands still for longer than its group waits for it: a zombie when it goes on
    "deaf member",  # a member of a group is given up although it goes on: a zombie
    "outage",  # a port is away for everybody
    "cluster away",
    "cluster taken away",  # its kubeconfig, which comes back
    "cluster refuses",  # every Job, for a while: requests are parked
    "watch gap",  # a watch ends with 410
    "job deleted",  # by somebody else
    "leader lost",  # the right to watch is taken away
    "join",  # another process of a role comes, and goes again
)

_RATES = (300.0, 100.0, 40.0, 15.0)
"""One in so many calls; each seed draws for each kind, or leaves it out."""
_PAUSES = (2.0, 5.0, 12.0)
"""Seconds between two faults of a kind that come now and then."""


class Line(NamedTuple):
    """Something that happened: when, by whom, what."""

    at: float
    who: str
    what: str


class Trace:
    """The schedule of a simulation. Times are seconds since its start."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def say(self, at: float, who: object, what: str) -> None:
        self.lines.append(Line(at, str(who), what))

    def text(self) -> str:
        return "\n".join(f"{line.at:9.3f}  {line.who:<14} {line.what}" for line in self.lines)


class Faults:
    """`without` are kinds that never happen."""

    def __init__(self, chance: Chance, without: Sequence[str] = ()) -> None:
        self._chance = chance
        self.on = True
        self.injected: Counter[str] = Counter()
        self._rates = {
            kind: chance.of(_RATES) * rare
            for kind, rare in AT_A_CALL.items()
            if chance.one_in(2) and kind not in without
        }
        self.pauses = {
            kind: chance.of(_PAUSES) for kind in NOW_AND_THEN if chance.one_in(2) and kind not in without
        }

    def at_a_call(self, kinds: Sequence[str]) -> str | None:
        """What goes wrong with a call for which these kinds are possible."""
        if not self.on:
            return None
        for kind in kinds:
            rate = self._rates.get(kind)
            if rate is not None and self._chance.unit() * rate < 1:
                self.injected[kind] += 1
                return kind
        return None
