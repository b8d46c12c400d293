"""Trying again: infrastructure that is away is asked without end, with pauses that grow.

There is nothing better to do, and nothing is lost meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from nexus.domain.backoff import delay
from nexus.domain.errors import Unavailable

__all__ = ["Backoff", "retry"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_FIRST, _LONGEST = 0.1, 3.0
"""Seconds. The longest is what a server that is back may be left waiting for."""


class Backoff:
    """The pauses between attempts at one thing. Once no pause was needed for a while, they are short again."""

    def __init__(self, first: float = _FIRST, longest: float = _LONGEST) -> None:
        """Both in seconds."""
        self._first = first
        self._longest = longest
        self._attempts = 0
        self._until = 0.0

    async def pause(self) -> None:
        """Wait before the next attempt."""
        now = asyncio.get_running_loop().time()
        if now - self._until > 2 * self._longest:
            self._attempts = 0
        self._attempts += 1
        seconds = delay(self._attempts, random.random(), self._first, self._longest)  # noqa: S311 - no secret
        self._until = now + seconds
        await asyncio.sleep(seconds)


async def retry(attempt: Callable[[], Awaitable[T]], event: str = "retrying", **about: object) -> T:
    """Call `attempt` until it does not raise Unavailable; log `event` each time that it does."""
    backoff = Backoff()
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            _log.warning(event, problem=str(error), **about)
            await backoff.pause()
