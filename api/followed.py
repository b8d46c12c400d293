"""Whether the ledgers follow what is accepted for a cluster, which may just have come."""

from __future__ import annotations

from api.context import ApiContext
from api.waiting import waited
from nexus.domain.errors import Unavailable
from nexus.domain.topics import requests_of
from nexus.ports import EventLog, RunStore

__all__ = ["Followed", "must_be_followed"]

_PAUSE = 0.1


class Followed:
    """Once the watermark waits for a cluster's requests it always does, so that each is asked about once."""

    def __init__(self, log: EventLog, store: RunStore) -> None:
        self._log = log
        self._store = store
        self._known: set[str] = set()

    async def __call__(self, cluster: str) -> bool:
        """Raises Unavailable."""
        if cluster not in self._known:
            topic = requests_of(cluster)
            partitions = (await self._log.topics()).get(topic, 0)
            waited_for = {at.number for at in await self._store.folded() if at.topic == topic}
            if partitions and waited_for.issuperset(range(partitions)):
                self._known.add(cluster)
        return cluster in self._known


async def must_be_followed(context: ApiContext, cluster: str) -> None:
    """Wait for the ledgers, no longer than a read does: else a run could be accepted, and be answered 404.

    Raises Unavailable.
    """
    if not await waited(context, lambda: context.is_followed(cluster), _PAUSE):
        raise Unavailable(f"no ledger folds the requests for the cluster {cluster} yet: try again")
