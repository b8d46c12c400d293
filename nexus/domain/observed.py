"""What a cluster shows of a run: the fields of `batch/v1` Jobs and `v1` Pods that decide something.

The names are Kubernetes', so API JSON decodes straight into these and the rest of an object is dropped unread.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from nexus.domain.canonical import Canonical

__all__ = ["NODE_LOST", "ContainerState", "ContainerStatus", "JobView", "PodView", "Terminated"]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


NODE_LOST = frozenset({"DeletionByTaintManager", "DeletionByPodGC", "NodeLost"})
"""Reasons for which a pod is taken from a node that nobody reaches."""


class OwnerReference(_Shape, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""


class Metadata(_Shape, frozen=True):
    name: str
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Condition(_Shape, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class JobStatus(_Shape, frozen=True):
    conditions: tuple[Condition, ...] = ()
    active: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    start_time: datetime | None = None
    completion_time: datetime | None = None


def _true(conditions: Iterable[Condition], kind: str) -> Condition | None:
    return next((c for c in conditions if c.type == kind and c.status == "True"), None)


class JobView(Canonical, _Shape, frozen=True):
    metadata: Metadata
    status: JobStatus = JobStatus()

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type where it is true. Only `Complete` and `Failed` are ends of a Job."""
        return _true(self.status.conditions, kind)

    @property
    def ended(self) -> bool:
        return self.condition("Complete") is not None or self.condition("Failed") is not None

    @property
    def ended_at(self) -> datetime | None:
        end = self.condition("Complete") or self.condition("Failed")
        return end.last_transition_time if end else None

    @property
    def runs(self) -> bool:
        """Whether all of its pods are there and ready, so that nothing holds it up."""
        return 0 < self.status.active <= self.status.ready


class Waiting(_Shape, frozen=True):
    reason: str = ""
    message: str = ""


class Running(_Shape, frozen=True):
    started_at: datetime | None = None


class Terminated(_Shape, frozen=True):
    exit_code: int
    reason: str = ""
    message: str = ""
    signal: int | None = None
    """None where a cluster does not tell: Kubernetes shows a signal as an exit code beyond 128, as a program may too."""
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ran(self) -> bool:
        """A container whose command could not be started has an end, and a start, all the same."""
        return self.reason not in {"StartError", "ContainerCannotRun"}


class ContainerState(_Shape, frozen=True):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Canonical, _Shape, frozen=True):
    name: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    restart_count: int = 0


class PodStatus(Canonical, _Shape, frozen=True):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    start_time: datetime | None = None


class PodView(Canonical, _Shape, frozen=True):
    metadata: Metadata
    status: PodStatus = PodStatus()

    @property
    def started_at(self) -> datetime | None:
        """When the algorithm's container first ran in this pod; None where it could not be started.

        A container that never ran is given an end, and some clusters give it a start too, when its pod is deleted:
        it is believed of a pod that a kubelet had taken up.
        """
        for container in self.status.container_statuses:
            for state in (container.last_state, container.state):
                if (
                    state.terminated
                    and state.terminated.started_at
                    and state.terminated.ran
                    and self.taken_up
                ):
                    return state.terminated.started_at
                if state.running and state.running.started_at:
                    return state.running.started_at
        return None

    @property
    def taken_up(self) -> bool:
        """Whether a kubelet had said that it runs this pod: it does so before it starts anything of it."""
        return self.status.start_time is not None

    @property
    def placed(self) -> bool:
        """Whether it has its node."""
        return self.taken_up or _true(self.status.conditions, "PodScheduled") is not None

    @property
    def alive(self) -> bool:
        """Whether it may still run."""
        return self.status.phase not in {"Succeeded", "Failed"}

    @property
    def leaving(self) -> bool:
        """Whether it is being deleted and has not ended yet."""
        return self.alive and self.metadata.deletion_timestamp is not None

    @property
    def lost(self) -> bool:
        """Whether it is on a node that cannot be reached any more."""
        return self.disruption is not None and self.disruption.reason in NODE_LOST

    @property
    def disruption(self) -> Condition | None:
        """Why the pod was, or is about to be, taken from its node: eviction, preemption, a lost or deleted node."""
        return _true(self.status.conditions, "DisruptionTarget")

    @property
    def unschedulable(self) -> Condition | None:
        """Why no node takes the pod."""
        conditions = self.status.conditions
        return next((c for c in conditions if c.type == "PodScheduled" and c.status == "False"), None)

    @property
    def terminated(self) -> Terminated | None:
        """How the algorithm's container ended, once it has."""
        for container in self.status.container_statuses:
            if container.state.terminated:
                return container.state.terminated
        return None

    @property
    def waiting(self) -> Waiting | None:
        for container in (*self.status.init_container_statuses, *self.status.container_statuses):
            if container.state.waiting:
                return container.state.waiting
        return None
