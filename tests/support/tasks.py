"""What a test starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

__all__ = ["Condition", "Tasks"]

Condition = Callable[[], Awaitable[Any] | Any]


class Tasks:
    """Work that goes on beside a test. A condition has `patience` seconds to come true, work has `to_stop` to stop."""

    def __init__(self, *, patience: float, to_stop: float) -> None:
        self._patience = patience
        self._to_stop = to_stop
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def stop(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel them; what they raised of their own is raised here."""
        for task in tasks:
            task.cancel()
        for task in tasks:
            self._tasks.discard(task)
            done, _ = await asyncio.wait([task], timeout=self._to_stop)
            assert done, f"{task} goes on although it was cancelled"
            with suppress(asyncio.CancelledError):
                task.result()

    async def _until(self, condition: Condition, meanwhile: Callable[[], None]) -> Any:
        """Wait for a condition to be true and give what it gave; what a task raises is raised here."""
        async with asyncio.timeout(self._patience):
            while True:
                for task in self._tasks:
                    if task.done():
                        task.result()
                result = condition()
                if isinstance(result, Awaitable):
                    result = await result
                if result:
                    return result
                meanwhile()
                await asyncio.sleep(0.005)

    async def stop_all(self) -> None:
        await self.stop(*self._tasks)
