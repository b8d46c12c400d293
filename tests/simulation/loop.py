"""An event loop without a clock, threads or sockets: time jumps to the next timer, and a seed says who goes next.

Every callback belongs to a process of the simulation. Within one, callbacks run in the order that asyncio promises;
between processes that are ready at the same time, chance decides. A process can be paused, and killed: then nothing of it
runs any more, no `finally` either.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.simulation.chance import Chance

__all__ = ["BUSY", "IDLE", "Process", "VirtualLoop", "current_process"]

BUSY, IDLE = (0.05, 0.4), (0.3, 1.2)
"""Between these many seconds lies the least time for which a process sleeps: looking a hundred times a second, as in
reality, would be most of what a simulation does. To sleep longer than asked for is what a busy machine does anyway."""

_STEPS = 3_000_000
"""Callbacks after which something is taken to go round in circles."""

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """One operating system process of the simulation. `skew` is how many seconds its clock is ahead of the true time."""

    def __init__(self, name: str, skew: float = 0.0) -> None:
        self.name = name
        self.skew = skew
        self.alive = True
        self.paused = False
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        """All that it has made."""
        self.work: list[asyncio.Task[Any]] = []
        """Those that a stop cancels."""
        self.stood_still = 0.0
        """Seconds, in all."""
        self.seen: dict[tuple[object, str], tuple[Any, float]] = {}
        """The row of each run as each task last read it, None where there was none, and when by its own count of time."""

    def __repr__(self) -> str:
        return self.name


def current_process() -> Process:
    process = _process.get()
    assert process is not None, "outside of a simulation nothing is of a process"
    return process


class VirtualLoop(asyncio.BaseEventLoop):
    """`world` is the process of everything that is not of Nexus: servers, clusters, clients and whoever directs it."""

    def __init__(self, chance: Chance) -> None:
        super().__init__()
        self.world = Process("world")
        self._world_context = contextvars.copy_context()
        self._world_context.run(_process.set, self.world)
        self._chance = chance
        self.looks = BUSY
        self._now = 0.0
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self.steps = 0

    # As a loop of asyncio

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._make_ready(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        least, most = self.looks
        if when < self._now + most and _process.get() not in {None, self.world}:
            when = max(when, self._now + self._chance.between(least, most))
        return self._call_at(when, callback, args, context)

    def in_world(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Have it happen after so long, whoever asks for it and whatever becomes of that."""
        self.in_world_at(self._now + seconds, callback, *args)

    def in_world_at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """What is for the same moment happens in the order in which it was asked for."""
        self._call_at(when, callback, args, self._world_context)

    def _call_at(
        self, when: float, callback: Callable[..., object], args: Any, context: contextvars.Context | None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task = super().create_task(coro, name=name, context=context)
        process = context.get(_process) if context else _process.get()
        (process or self.world).tasks.append(task)
        return task

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def _write_to_self(self) -> None:
        """Nothing sleeps that would have to be woken."""

    def _run_once(self) -> None:
        while not self._runnable:
            self._pass_time()
        at = self._chance.below(len(self._runnable)) if len(self._runnable) > 1 else 0
        process = self._runnable[at]
        handle = process.ready.popleft()
        if not process.ready:
            self._runnable[at] = self._runnable[-1]
            self._runnable.pop()
        if not handle._cancelled:
            self.steps += 1
            handle._run()

    def _pass_time(self) -> None:
        if not self._timers:
            raise RuntimeError("nothing will ever happen again")
        if self.steps > _STEPS:
            raise RuntimeError(f"something goes round in circles: {self.steps} steps until {self._now:.3f}")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            handle = heapq.heappop(self._timers)[2]
            if not handle._cancelled:
                self._make_ready(handle)

    def _make_ready(self, handle: asyncio.Handle) -> None:
        process = handle._context.get(_process) or self.world
        if not process.alive:
            return
        process.ready.append(handle)
        if len(process.ready) == 1 and not process.paused:
            self._runnable.append(process)

    # Processes

    def within(self, process: Process, start: Callable[[], Any]) -> Any:
        """Call it as that process: what it spawns is of the process too."""
        context = contextvars.copy_context()
        context.run(_process.set, process)
        return context.run(start)

    def lived(self, process: Process) -> float:
        """The seconds during which it could do something."""
        return self._now - process.stood_still

    def pause(self, process: Process) -> None:
        process.paused = True
        process.stood_still -= self._now
        if process in self._runnable:
            self._runnable.remove(process)

    def resume(self, process: Process) -> None:
        process.paused = False
        process.stood_still += self._now
        if process.alive and process.ready:
            self._runnable.append(process)

    def kill(self, process: Process) -> None:
        """As `kill -9`: it just stops. What it has sent is on its way."""
        if not process.paused:
            self.pause(process)
        process.alive = False
        process.ready.clear()

    def bury(self, process: Process) -> None:
        """Once nothing matters any more: end what is left of its tasks, so that nobody hears of them again."""
        for task in process.tasks:
            if task.done():
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with suppress(RuntimeError, ValueError):  # it would wait for something on its way out
                task.get_coro().close()  # type: ignore[union-attr]
