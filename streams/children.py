"""The children of a run that have not ended."""

from __future__ import annotations

from nexus.domain.run import Run
from nexus.ports import RunFilter, RunStore

__all__ = ["living_children"]

_PAGE = 500


async def living_children(store: RunStore, parent: str) -> list[Run]:
    """All of them, however many."""
    living: list[Run] = []
    after = ""
    while page := await store.find(RunFilter(parent=parent), _PAGE, after):
        living += [child for child in page if not child.ended]
        after = page[-1].id
    return living
