"""What the rules look at: a Job, its pods, what they waited for, and what the cluster said about them."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from nexus.domain.observed import Condition, JobView, PodView, Terminated, Waiting
from nexus.domain.run import Run

__all__ = ["USUAL_WAITS", "Sight", "sight"]

USUAL_WAITS = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons that every container waits for, for a moment."""

_GO_ON = ("Pulling", "Pulled", "Created", "Started", "SuccessfulAttachVolume")
_NO_VOLUME = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_TROUBLE = (
    *_NO_VOLUME,
    "FailedCreatePodSandBox",
    "FailedPreStopHook",
    "NetworkNotReady",
    "Failed",
    "BackOff",
)


class Sight(msgspec.Struct, frozen=True):
    """`pods` are in the order of their making, `events` in that of their being said. `waited` is the last unusual
    reason for which a container of any pod could not start.
    """

    job: JobView | None
    pods: tuple[PodView, ...]
    waited: Waiting | None
    events: tuple[str, ...]
    transient: Collection[int] = ()

    # The Job

    @property
    def failed(self) -> Condition | None:
        """Why the Job has failed, or is about to once its pods are gone."""
        if self.job is None:
            return None
        return self.job.condition("Failed") or self.job.condition("FailureTarget")

    @property
    def reason(self) -> str:
        """Empty while the Job goes on."""
        return self.failed.reason if self.failed else ""

    @property
    def refused(self) -> str:
        """Why the Job's controller can make no pod, in the API server's words."""
        made = _latest(self.events, "FailedCreate", "SuccessfulCreate")
        return made.partition(": ")[2] if made.startswith("FailedCreate") else ""

    # The last pod

    @property
    def last(self) -> PodView | None:
        return self.pods[-1] if self.pods else None

    @property
    def alive(self) -> bool:
        """Whether there is a pod that may still run."""
        return self.last is not None and self.last.alive

    @property
    def started(self) -> bool:
        return self.last is not None and self.last.started_at is not None

    @property
    def never_started(self) -> bool:
        """Not in any attempt."""
        return not any(pod.started_at for pod in self.pods)

    @property
    def placed(self) -> bool:
        """Whether the last pod got a node, or, on the embedded cluster, a slot."""
        return self.last is not None and self.last.placed

    @property
    def unplaced(self) -> str:
        """Why it got none, in the scheduler's words."""
        condition = self.last.unschedulable if self.last else None
        return _words(condition) or _latest(self.events, "FailedScheduling")

    @property
    def end(self) -> Terminated | None:
        return self.last.terminated if self.last else None

    @property
    def waits(self) -> Waiting | None:
        """What keeps the last pod from starting, or kept every pod from it while they were there."""
        if self.started or (self.reason and not self.never_started):
            return None
        now = self.last.waiting if self.last else None
        return now if now and now.reason not in USUAL_WAITS else self.waited

    @property
    def unmounted(self) -> str:
        """Why its volumes cannot be mounted, in the kubelet's words."""
        said = _latest(self.events, *_NO_VOLUME, *_GO_ON)
        return said if said.startswith(_NO_VOLUME) else ""

    @property
    def trouble(self) -> str:
        """The last that the cluster said about getting it to run."""
        return _latest(self.events, *_TROUBLE, *_GO_ON)

    @property
    def disruption(self) -> str:
        """The reason for which it was, or is to be, taken from its node."""
        if self.last is None:
            return ""
        condition = self.last.disruption
        return condition.reason if condition else self.last.status.reason

    @property
    def disrupted(self) -> str:
        """The same in the cluster's words."""
        if self.last is None:
            return ""
        return self.last.status.message or _words(self.last.disruption)

    @property
    def deleted(self) -> bool:
        """Whether somebody has deleted it, be it the Job's controller."""
        return self.last is not None and self.last.metadata.deletion_timestamp is not None


def sight(
    run: Run,
    job: JobView | None,
    pods: Collection[PodView],
    waited: Waiting | None = None,
    events: Collection[str] = (),
) -> Sight:
    transient = run.request.spec.error_handling_behaviour.transient_exit_codes
    return Sight(job, tuple(pods), waited, tuple(events), frozenset(transient))


def _latest(events: Collection[str], *reasons: str) -> str:
    """The last that was said for one of these reasons."""
    return next((said for said in reversed([*events]) if said.partition(":")[0] in reasons), "")


def _words(condition: Condition | None) -> str:
    return ": ".join(filter(None, (condition.reason, condition.message))) if condition else ""
