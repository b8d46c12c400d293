"""Hands each change to everybody who watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from nexus.ports import Change

__all__ = ["Watchers"]

_LONGEST_BACKLOG = 50_000  # changes; a watch that lags further ends, and its watcher lists again


class Watchers:
    """Each has a queue of changes, which None ends."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Change | None]] = set()

    def join(self) -> asyncio.Queue[Change | None]:
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._queues.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[Change | None]) -> None:
        self._queues.discard(queue)

    def publish(self, changes: Iterable[Change]) -> None:
        for change in changes:
            for queue in tuple(self._queues):
                if queue.qsize() < _LONGEST_BACKLOG:
                    queue.put_nowait(change)
                else:
                    self._end(queue)

    def end(self) -> None:
        for queue in tuple(self._queues):
            self._end(queue)

    def _end(self, queue: asyncio.Queue[Change | None]) -> None:
        self.leave(queue)
        queue.put_nowait(None)
