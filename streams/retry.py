"""Unavailable infrastructure is retried without end: there is nothing better to do, and nothing is lost meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from nexus.domain.errors import Unavailable

__all__ = ["retry"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_PAUSE = 0.5


async def retry(attempt: Callable[[], Awaitable[T]]) -> T:
    """Call it until it is not refused by `Unavailable`."""
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            _log.warning("retrying", problem=str(error))
            await asyncio.sleep(_PAUSE)
