"""A queue of keys: each is worked on by one at a time, however often it is added, and again after a pause when it failed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from nexus.domain.backoff import delay
from nexus.domain.sync.objects import Key

__all__ = ["Queue"]

_FIRST, _LONGEST = 0.5, 60.0
"""Seconds between two attempts at one key."""


class Queue:
    """`work` gives whether it succeeded. `chance` is from 0 to 1."""

    def __init__(
        self, work: Callable[[Key], Awaitable[bool]], workers: int, chance: Callable[[], float]
    ) -> None:
        self._work = work
        self._workers = workers
        self._chance = chance
        self._waiting: dict[Key, None] = {}
        self._working: set[Key] = set()
        self._attempts = Counter[Key]()
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._free = asyncio.Semaphore(0)

    def add(self, *keys: Key) -> None:
        """Let their turn come, at once."""
        for key in keys:
            if later := self._later.pop(key, None):
                later.cancel()
            if key not in self._waiting:
                self._waiting[key] = None
                if key not in self._working:
                    self._free.release()

    def is_busy(self, *keys: Key) -> bool:
        """Whether one of them is being worked on, or waits for its turn."""
        return any(key in self._working or key in self._waiting for key in keys)

    @property
    def waiting(self) -> int:
        """How many wait for their turn, or are worked on."""
        return len(self._waiting.keys() | self._working)

    @property
    def failing(self) -> int:
        """How many failed when they were worked on last."""
        return len(self._attempts)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._take())
        finally:
            for later in self._later.values():
                later.cancel()

    async def _take(self) -> None:
        while True:
            await self._free.acquire()
            key = next(each for each in self._waiting if each not in self._working)
            del self._waiting[key]
            self._working.add(key)
            try:
                succeeded = await self._work(key)
            finally:
                self._working.discard(key)
            if key in self._waiting:  # added meanwhile
                self._free.release()
            elif not succeeded:
                self._put_off(key)
            if succeeded:
                del self._attempts[key]

    def _put_off(self, key: Key) -> None:
        self._attempts[key] += 1
        pause = delay(self._attempts[key], self._chance(), _FIRST, _LONGEST)
        self._later[key] = asyncio.get_running_loop().call_later(pause, self.add, key)
