"""Evidence: what a cluster still shows of a run, cut to a size that the log can carry."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from nexus.domain.bounds import cut
from nexus.domain.errors import NexusError
from nexus.domain.events import Evidence
from nexus.domain.observed import ContainerState, ContainerStatus, Metadata, PodView
from nexus.domain.tail import tail
from nexus.ports import Cluster

__all__ = ["gather"]

_LOG_BYTES = 16 * 1024
_CUT = "[... cut by Nexus: the log is longer ...]\n"
_EVENTS = 50
_PODS = 10
_WORDS = 2048
"""Characters of any message: a termination message may have 4096, an event 1024."""
_LOGS_ASKED = 3


async def gather(cluster: Cluster, job: str, pods: Sequence[PodView]) -> Evidence:
    """The last attempts, the related events, and the tail of the last log that there is.

    At most 16 KiB of log, 50 events and 10 pods. `note` tells what could not be read.
    """
    kept = tuple(_brief(pod) for pod in pods[-_PODS:])
    try:
        events = tuple(cut(said, _WORDS) for said in (await cluster.events(job))[-_EVENTS:])
        log_of, log_tail = await _last_log(cluster, pods)
    except NexusError as error:
        return Evidence(pods=kept, note=f"no events and no log, because {error}")
    note = "" if log_tail else "no log, because there is no pod"
    if pods and not log_tail:
        started = any(pod.started_at for pod in pods)
        note = f"no log, because {'its containers wrote none, or are gone' if started else 'no container started'}"
    return Evidence(pods=kept, events=events, log_tail=log_tail, log_of=log_of, note=note)


async def _last_log(cluster: Cluster, pods: Sequence[PodView]) -> tuple[str, str]:
    """Find the last attempt that has a log, and the end of that log."""
    started = [pod.metadata.name for pod in pods if pod.started_at]
    for name in reversed(started[-_LOGS_ASKED:]):
        # As much again is asked for, to know whether there was more.
        if log := await cluster.log_tail(name, 2 * _LOG_BYTES):
            whole = log.encode()
            return name, log if len(whole) <= _LOG_BYTES else _CUT + tail(whole, _LOG_BYTES - len(_CUT))
    return "", ""


def _brief(pod: PodView) -> PodView:
    """Without what others wrote on it, and with no more words than anybody reads."""
    was = pod.metadata
    metadata = Metadata(
        name=was.name,
        uid=was.uid,
        creation_timestamp=was.creation_timestamp,
        deletion_timestamp=was.deletion_timestamp,
    )
    status = replace(
        pod.status,
        message=cut(pod.status.message, _WORDS),
        conditions=tuple(
            replace(condition, message=cut(condition.message, _WORDS)) for condition in pod.status.conditions
        ),
        init_container_statuses=tuple(map(_short, pod.status.init_container_statuses)),
        container_statuses=tuple(map(_short, pod.status.container_statuses)),
    )
    return PodView(metadata=metadata, status=status)


def _short(container: ContainerStatus) -> ContainerStatus:
    return replace(container, state=_cut(container.state), last_state=_cut(container.last_state))


def _cut(state: ContainerState) -> ContainerState:
    waiting, ended = state.waiting, state.terminated
    return replace(
        state,
        waiting=waiting and replace(waiting, message=cut(waiting.message, _WORDS)),
        terminated=ended and replace(ended, message=cut(ended.message, _WORDS)),
    )
