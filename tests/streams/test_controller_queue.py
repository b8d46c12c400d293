"""The queue of a controller: one at a time of each key, and again after a pause when it failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nexus.domain.sync.objects import Key
from streams.controller.queue import Queue

A, B = Key("Secret", "a"), Key("Secret", "b")


@asynccontextmanager
async def working(work: Callable[[Key], Awaitable[bool]], workers: int = 4) -> AsyncIterator[Queue]:
    queue = Queue(work, workers, lambda: 1.0)  # pauses are halved
    running = asyncio.create_task(queue.run())
    yield queue
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_each_is_worked_on_once_however_often_it_is_added() -> None:
    seen = []
    let_go = asyncio.Event()

    async def work(key: Key) -> bool:
        seen.append(key)
        assert queue.is_busy(key)
        await let_go.wait()
        return True

    async with working(work) as queue:
        queue.add(A, B, A)
        while len(seen) < 2:
            await asyncio.sleep(0)
        queue.add(A)
        queue.add(A)
        await asyncio.sleep(0.01)
        assert seen == [A, B]  # the same key is never worked on twice at a time
        let_go.set()
        while queue.is_busy(A, B):
            await asyncio.sleep(0)
        assert seen == [A, B, A]


async def test_what_failed_comes_again_by_itself_and_holds_up_no_other() -> None:
    seen = []
    again = asyncio.Event()

    async def work(key: Key) -> bool:
        seen.append(key)
        if seen.count(A) == 2:
            again.set()
        return key != A or seen.count(A) > 1

    async with working(work, workers=1) as queue:
        queue.add(A, B)
        await again.wait()
        assert seen == [A, B, A]


async def test_what_failed_comes_at_once_when_it_is_added() -> None:
    seen = []

    async def work(key: Key) -> bool:
        seen.append(key)
        return False

    async with working(work) as queue:
        queue.add(A)
        while not seen:
            await asyncio.sleep(0)
        queue.add(A)
        while len(seen) < 2:
            await asyncio.sleep(0)
