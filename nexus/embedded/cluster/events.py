"""The Kubernetes Events that a Job and its pods would have had, read off their states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nexus.domain.observed import JobView, PodView

__all__ = ["events"]


def events(job: JobView, pods: Sequence[PodView]) -> Iterator[str]:
    """Oldest first, as `reason: message`."""
    for pod in pods:
        yield f"SuccessfulCreate: Created pod: {pod.metadata.name}"
        yield from _of_pod(pod)
    for condition in job.status.conditions:
        if condition.type == "Complete":
            yield "Completed: Job completed"
        elif condition.type == "Failed":
            yield f"{condition.reason}: {condition.message}"


def _of_pod(pod: PodView) -> Iterator[str]:
    name = pod.metadata.name
    scheduled = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    if scheduled is None:
        yield "FailedScheduling: every slot of this cluster is taken"
        return
    yield f"Scheduled: Successfully assigned {name} to this machine"
    if pod.waiting is not None and pod.waiting.message:
        yield f"Failed: Error: {pod.waiting.message}"
    terminated = pod.terminated
    if terminated is not None and terminated.reason == "StartError":
        yield f"Failed: Error: {terminated.message}"
    elif pod.started_at is not None:
        yield f"Started: Started container of {name}"
    if pod.metadata.deletion_timestamp is not None:
        yield f"Killing: Stopping container of {name}"
    if terminated is not None and terminated.reason == "OOMKilled":
        yield f"OOMKilling: {name} used more memory than its limit"
    if pod.status.reason:
        yield f"{pod.status.reason}: {pod.status.message}"
