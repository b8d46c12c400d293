"""Work that ends together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["Spawn", "stop", "tasks"]

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@asynccontextmanager
async def tasks(failed: Callable[[BaseException], None]) -> AsyncIterator[Spawn]:
    """Spawn work that is cancelled, and has ended, when this is left. `failed` is told what any of it raises."""
    # Not a set: in a simulation they end in the order in which they began.
    running: dict[asyncio.Task[None], None] = {}

    def ended(task: asyncio.Task[None]) -> None:
        running.pop(task, None)
        if not task.cancelled() and (error := task.exception()):
            failed(error)

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        running[task] = None
        task.add_done_callback(ended)
        return task

    try:
        yield spawn
    finally:
        while running:  # a scheduler's task may spawn another on its way out
            for task in running:
                task.cancel()
            await asyncio.wait(running)


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel it, and wait until it has ended. What it raised is for whoever spawned it."""
    task.cancel()
    await asyncio.wait([task])
