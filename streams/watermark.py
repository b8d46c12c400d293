"""Waiting for the watermark: after it, a reader sees everything that was accepted before it asked."""

from __future__ import annotations

import asyncio
from datetime import datetime

from nexus.ports import RunStore

__all__ = ["passed"]

_PAUSE = 0.01


async def passed(store: RunStore, moment: datetime) -> None:
    """Returns once everything that the log took before `moment` is in the projections."""
    while (watermark := await store.watermark()) is None or watermark < moment:  # noqa: ASYNC110 - another process may move it
        await asyncio.sleep(_PAUSE)
