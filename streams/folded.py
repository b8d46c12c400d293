"""Rows as they are once the ledger has folded what a processor is looking at."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from nexus.domain.run import Run
from nexus.ports import Record, RunStore

__all__ = ["rows_beyond"]

_PAUSE = 0.01
"""Seconds between two looks at rows that the ledger has not folded yet."""


async def rows_beyond(store: RunStore, facts: Sequence[Record]) -> dict[str, Run]:
    """The rows of these facts' runs, each no older than its last fact here. Facts without a run are left out.

    Waits for the ledger: it reads the same records, and its watermark passes those that it dead-lettered.
    """
    # A ledger folds a partition in its order, so that asking after the last fact of each again and again is enough.
    await _folded(store, {record.position[:2]: record for record in facts}.values())
    return await _folded(store, facts)


async def _folded(store: RunStore, facts: Collection[Record]) -> dict[str, Run]:
    last = {record.key: record for record in facts}
    rows: dict[str, Run] = {}
    while last:
        rows |= await store.get_many(list(last))
        watermark = await store.watermark()
        folded_until = watermark.timestamp() if watermark else 0.0
        last = {
            key: record
            for key, record in last.items()
            if (
                rows[key].position < record.position.offset
                if key in rows
                else record.timestamp >= folded_until
            )
        }
        if last:
            await asyncio.sleep(_PAUSE)
    return rows
