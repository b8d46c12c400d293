"""Leadership where there is one process: it always leads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from nexus.ports import Leadership

__all__ = ["Alone"]


class Alone(Leadership):
    async def lead(self, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        await work(1)
