"""Between the processes and the servers: how long a call takes, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from nexus.domain.errors import OutcomeUnknown, Unavailable
from tests.simulation.chance import Chance
from tests.simulation.faults import Faults, Trace
from tests.simulation.loop import Process, VirtualLoop, current_process

__all__ = ["Network"]

T = TypeVar("T")

_READ = ("error", "time-out", "slow", "crash before", "crash after")
_CHANGE = ("error", "time-out", "lost answer", "late", "slow", "crash before", "crash after")

_QUICK = 0.004
_PATIENCE = 4.0
"""Seconds until a caller gives up."""
_LATE = 2.0
"""Seconds for which a question may still arrive that its caller has given up."""


class Network:
    """Effects happen at the servers: a call that is on its way arrives although its caller is dead by then."""

    def __init__(self, loop: VirtualLoop, chance: Chance, faults: Faults, trace: Trace) -> None:
        self._loop = loop
        self._chance = chance
        self._faults = faults
        self._trace = trace
        self._lanes: dict[Hashable, float] = {}
        self._away: dict[str, float] = {}
        self.crash: Callable[[Process, str], None] = lambda _, __: None

    def say(self, who: object, what: str) -> None:
        self._trace.say(self._loop.time(), who, what)

    def saw(self) -> Callable[[str, object], None]:
        """Notes what this task reads of a run, and when by its process's own count of time."""
        process, task = current_process(), asyncio.current_task()

        def note(run: str, row: object) -> None:
            process.seen[task, run] = row, self._loop.lived(process)

        return note

    def cut_off(self, port: str, seconds: float) -> None:
        """Nobody reaches what is behind this port for so long."""
        self._away[port] = max(self._away.get(port, 0.0), self._loop.time() + seconds)

    def heal(self) -> None:
        self._away.clear()

    def is_away(self, port: str) -> bool:
        return self._away.get(port, 0.0) > self._loop.time()

    async def read(self, port: str, effect: Callable[[], T]) -> T:
        """Ask for something. Raises Unavailable."""
        return await self._call(port, "", effect, _READ, None)

    async def change(
        self,
        port: str,
        what: str,
        effect: Callable[[], T],
        lane: Hashable = None,
    ) -> T:
        """Have something done. What is sent in one lane arrives in the order in which it was sent.

        Raises Unavailable, or OutcomeUnknown: it was done, or will be within `_LATE` seconds, or never.
        """
        return await self._call(port, what, effect, _CHANGE, lane)

    async def _call(
        self, port: str, what: str, effect: Callable[[], T], kinds: tuple[str, ...], lane: Hashable
    ) -> T:
        process = current_process()
        loop, chance = self._loop, self._chance
        fault = self._faults.at_a_call(kinds)
        if fault:
            self.say(process, f"{fault} at {port} {what}")
        if self.is_away(port):
            fault = "error"
        answer: asyncio.Future[T] = loop.create_future()
        now = loop.time()
        there = now + _QUICK * chance.unit()
        if fault == "slow":
            there += chance.between(0.1, _PATIENCE / 2)
        elif fault == "late":
            there = now + _PATIENCE + chance.between(0.0, _LATE)
        if lane is not None:
            there = max(there, self._lanes.get(lane, 0.0))
        unknown = OutcomeUnknown if kinds is not _READ else Unavailable
        if fault == "error":
            self._later(there, _fail, answer, Unavailable(f"{port} is away"))
        elif fault == "time-out":
            self._later(now + _PATIENCE, _fail, answer, unknown(f"{port} did not answer"))
        else:
            if lane is not None:
                self._lanes[lane] = there
            if fault in {"lost answer", "late"} or there > now + _PATIENCE:
                self._later(now + _PATIENCE, _fail, answer, unknown(f"{port} did not answer"))
            self._later(there, self._arrive, process, port, what, effect, answer, fault)
        if fault == "crash before":
            self._later(min(there, now + _QUICK * chance.unit()), self.crash, process, f"at {port} {what}")
        return await answer

    def _arrive(
        self,
        process: Process,
        port: str,
        what: str,
        effect: Callable[[], Any],
        answer: asyncio.Future[Any],
        fault: str | None,
    ) -> None:
        try:
            result = effect()
        except Exception as error:
            settle, outcome = _fail, error
        else:
            settle, outcome = _succeed, result
        if what:
            self.say(process, f"{port} {what}" + (f": {outcome}" if settle is _fail else ""))
        if fault == "crash after":
            self.crash(process, f"after {port} {what}")
        elif fault not in {"lost answer", "late"}:
            self._later(self._loop.time() + _QUICK * self._chance.unit(), settle, answer, outcome)

    def _later(self, when: float, what: Callable[..., object], *arguments: object) -> None:
        self._loop.in_world_at(when, what, *arguments)


def _succeed(answer: asyncio.Future[Any], result: object) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
