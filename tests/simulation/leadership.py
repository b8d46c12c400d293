"""Leadership in memory: who does not renew it for a while has lost it, whether or not it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from nexus.ports import Leadership
from tests.simulation.loop import VirtualLoop

__all__ = ["Right", "SimulatedLeadership"]

_DURATION = 3.0
_RENEW = 0.7


class Right:
    """To one work. `held` is the term of its holder, 0 while nobody has it."""

    def __init__(self) -> None:
        self.term = 0
        self.held = 0
        self.renewed = 0.0


class SimulatedLeadership(Leadership):
    def __init__(self, right: Right, loop: VirtualLoop) -> None:
        self._right = right
        self._loop = loop

    async def lead(self, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        while True:
            term = await self._acquire()
            doing = asyncio.create_task(work(term))
            keeping = asyncio.create_task(self._keep(term))
            try:
                await asyncio.wait([doing, keeping], return_when=asyncio.FIRST_COMPLETED)
                returned = doing.done()
            finally:
                doing.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([doing])
                keeping.cancel()
                if self._right.held == term:
                    self._right.held = 0
            if returned:
                return await doing

    async def _acquire(self) -> int:
        right = self._right
        while right.held and self._loop.time() - right.renewed < _DURATION:
            await asyncio.sleep(_RENEW)
        right.term += 1
        right.held, right.renewed = right.term, self._loop.time()
        return right.term

    async def _keep(self, term: int) -> None:
        while self._right.held == term:
            self._right.renewed = self._loop.time()
            await asyncio.sleep(_RENEW)
