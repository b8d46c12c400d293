"""The verdicts of clusters on what is deployed, read every two seconds: no submission reads the store for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

from nexus.backoff import retry
from nexus.domain.verdict import Verdict
from nexus.ports import RunStore

__all__ = ["Verdicts"]

_REFRESH = 2.0
"""Seconds."""


class Verdicts:
    """Of these clusters, which may come and go. Empty until the first refresh: without a verdict a submission is accepted."""

    def __init__(self, store: RunStore, clusters: Collection[str], clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clusters = clusters
        self._clock = clock
        self._known: dict[tuple[str, str], Verdict] = {}

    def refusal(self, cluster: str, digest: str) -> str:
        """In the cluster's words; empty where there is none."""
        verdict = self._known.get((cluster, digest))
        return verdict.refusal if verdict and verdict.refuses(self._clock()) else ""

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            await retry(self.refresh, "verdicts_not_read")
            await asyncio.sleep(_REFRESH)

    async def refresh(self) -> None:
        """Raises Unavailable; what is known stays."""
        read = [verdict for name in [*self._clusters] for verdict in await self._store.verdicts(name)]
        self._known = {(verdict.cluster, verdict.digest): verdict for verdict in read}
