"""Reads of single rows, asked for together: a statement for several costs the driver and the server little more than one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Gathered"]

V = TypeVar("V")

_AT_ONCE = 2
"""Questions on their way: one that takes long does not hold up the others."""


class Gathered(Generic[V]):
    """What is asked for while earlier questions are on their way goes with the next one, never with an earlier one."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[dict[str, V]]]) -> None:
        self._read = read
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._next: tuple[set[str], asyncio.Task[dict[str, V]]] | None = None

    async def get(self, key: str) -> V | None:
        if self._next is None:
            first = {key}
            self._next = first, asyncio.create_task(self._ask(first))
        keys, answer = self._next
        keys.add(key)
        return (await asyncio.shield(answer)).get(key)

    async def _ask(self, keys: set[str]) -> dict[str, V]:
        async with self._slots:
            self._next = None
            return await self._read(list(keys))
