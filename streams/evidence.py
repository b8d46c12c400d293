"""Evidence: what a cluster still shows of a run, cut to a size that the log can carry."""

from __future__ import annotations

from collections.abc import Sequence

from nexus.domain.errors import NexusError
from nexus.domain.events import Evidence
from nexus.domain.observed import PodView
from nexus.ports import Cluster

__all__ = ["gather"]

_LOG_BYTES = 16 * 1024
_EVENTS = 50
_PODS = 10


async def gather(cluster: Cluster, job: str, pods: Sequence[PodView]) -> Evidence:
    """The last pods, the related events, and the tail of the last pod's log; `note` says what could not be had."""
    try:
        events = await cluster.events(job)
        log_tail = await cluster.log_tail(pods[-1].metadata.name, _LOG_BYTES) if pods else ""
    except NexusError as error:
        return Evidence(pods=tuple(pods[-_PODS:]), note=f"no events and no log, because {error}")
    note = "" if pods else "no log, because the Job has no pod"
    return Evidence(pods=tuple(pods[-_PODS:]), events=tuple(events[-_EVENTS:]), log_tail=log_tail, note=note)
