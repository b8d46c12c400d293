"""The children of a run, and whose Job a deletion of the parent's Job would delete too."""

from __future__ import annotations

from nexus.domain.run import Run
from nexus.ports import RunFilter, RunStore

__all__ = ["children", "keeps_its_parent"]

_PAGE = 500


async def children(store: RunStore, parent: str) -> list[Run]:
    """All of them, however many."""
    found: list[Run] = []
    while page := await store.find(RunFilter(parent=parent), _PAGE, found[-1].id if found else ""):
        found += page
    return found


def keeps_its_parent(child: Run, parent: Run) -> bool:
    """Whether the parent's Job has to stay for this child: the cluster deletes the Jobs that it owns with it.

    So an unfinished child keeps its Job, and an ended one is collected first, with its evidence.
    """
    owned = child.cluster_id in {"", parent.cluster_id} and child.request.cluster == parent.request.cluster
    return owned and (child.has_job or not child.ended)
