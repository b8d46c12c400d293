"""Waiting for the watermark: after it, a reader sees everything that was accepted before it asked."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from nexus.ports import RunStore

__all__ = ["ALLOWED_SKEW", "passed"]

ALLOWED_SKEW = timedelta(milliseconds=100)
"""How far the clocks of two hosts may be apart."""

_PAUSE = 0.01


async def passed(store: RunStore, moment: datetime) -> None:
    """Returns once everything that the log took before `moment` is in the projections."""
    while (watermark := await store.watermark()) is None or watermark < moment:  # noqa: ASYNC110 - another process may move it
        await asyncio.sleep(_PAUSE)
