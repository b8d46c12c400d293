"""How long a read may wait for others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from api.context import ApiContext

__all__ = ["waited"]


async def waited(context: ApiContext, condition: Callable[[], Awaitable[bool]], pause: float) -> bool:
    """Wait until it is true, with pauses of so many seconds; False when `read_wait` was not enough."""
    asked = context.clock()
    while not await condition():
        if context.clock() - asked > context.read_wait:
            return False
        await asyncio.sleep(pause)
    return True
