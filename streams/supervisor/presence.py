"""Whether a Job has vanished: answered by its own cluster, or not known."""

from __future__ import annotations

import structlog

from nexus.domain.errors import Unavailable
from nexus.ports import Cluster

__all__ = ["has_vanished"]

_log = structlog.get_logger(__name__)


async def has_vanished(cluster: Cluster | None, cluster_id: str, job: str, uid: str) -> bool:
    """Ask its own cluster whether a Job has vanished.

    False as well where the cluster is unreachable, or is not the one with that identity: unreachable is not dead.
    """
    if cluster is None:
        return False
    try:
        if await cluster.identity() != cluster_id:
            return False
        there = await cluster.get(job)
    except Unavailable as error:
        _log.warning("cluster_unreachable", cluster=cluster.name, run=job, problem=str(error))
        return False
    return there is None or there.metadata.uid != uid
