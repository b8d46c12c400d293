"""What our own API answers, for who serves it and who calls it. Members that a newer server adds are passed over."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from nexus.domain.events import Diagnosis, Parent
from nexus.domain.garbage import Garbage
from nexus.domain.run import DRY_RUN, Stage, State

__all__ = [
    "Accepted",
    "AccessView",
    "ClusterView",
    "Clusters",
    "CordonView",
    "GarbageReport",
    "RunEvent",
    "RunEvents",
    "RunPage",
    "RunView",
]


class RunView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A run. `state` is finer than upstream's `stage`; times are UTC, null while unset.

    `stalled` is what stalls its Job; `diagnosis` is why it did not complete, once it has ended.
    """

    request_id: str
    algorithm: str
    state: State
    stage: Stage
    cluster: str
    workgroup: str
    tag: str
    parent: Parent | None
    dry_run: bool
    received_at: datetime
    placement_deadline: datetime
    sent_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    collected_at: datetime | None
    deferred_until: datetime | None
    deferred_because: str
    job_uid: str
    result_uri: str
    diagnosis: Diagnosis | None
    stalled: Diagnosis | None = None
    stalled_since: datetime | None = None
    submitted_by: str = ""
    """The subject of the submission, empty where nobody had to say who it is; so for `cancelled_by`."""
    cancelled_by: str = ""
    tenant: str = ""
    """Whose it is; empty where it is nobody's."""
    unheard_since: datetime | None = None
    """When the run's cluster last answered, where that is too long ago."""

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def had_job(self) -> bool:
        return self.job_uid not in {"", DRY_RUN}


class RunPage(msgspec.Struct, frozen=True):
    """`cursor` asks for the next page; null on the last."""

    runs: list[RunView]
    cursor: str | None


class RunEvent(msgspec.Struct, frozen=True):
    """One event of a run's history. `offset` is its place in `nexus.runs`, -1 for the request."""

    id: str
    type: str
    time: datetime
    offset: int
    data: dict[str, Any]


class RunEvents(msgspec.Struct, frozen=True):
    events: list[RunEvent]


class CordonView(msgspec.Struct, frozen=True):
    """Since when a cluster is cordoned, by whom, and why."""

    since: datetime
    subject: str = ""
    reason: str = ""


class ClusterView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A cluster. Null is what nobody who serves it has told lately.

    `state`: `cordoned`, `unreachable` (it has not answered for a while), `absent` (its kubeconfig was taken away),
    `removed`, or `ready`.
    """

    name: str
    state: Literal["ready", "cordoned", "unreachable", "absent", "removed"]
    identity: str
    """The uid of its kube-system; empty where it never answered."""
    heard_at: datetime | None
    """When it last answered."""
    problem: str
    """What is wrong with it, and what to do."""
    cordon: CordonView | None
    queued: int | None
    """Requests that wait for their Job."""
    lag: float | None
    """Seconds for which the oldest of them has waited."""
    pending: int | None
    """Jobs that are created and have not started."""
    window: int | None
    """How many of those there may be."""
    rate: float | None
    """Jobs created per second, at most."""
    running: int | None
    """Runs whose algorithm runs; null where there are too many to count."""
    kubernetes: str
    """Its version."""
    nexus: list[str]
    """Versions of those that place Jobs on it."""


class Clusters(msgspec.Struct, frozen=True):
    clusters: list[ClusterView]


class GarbageReport(msgspec.Struct, frozen=True):
    """What would go at the next sweep. `unheard` names the clusters that could not be asked; `more`: the list was cut."""

    garbage: list[Garbage]
    unheard: list[str]
    more: bool


class Accepted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`warnings` say what of the submission has no effect."""

    request_id: str
    warnings: list[str] = []


class AccessView(msgspec.Struct, frozen=True):
    """Whether the caller, who is `subject` here, may do something; `rule` decided, and is empty where none allows it."""

    subject: str
    groups: tuple[str, ...]
    allowed: bool
    rule: str
    reason: str
    tenant: str = ""
    """The caller's; empty where it is of none."""
    limits: dict[str, int] = {}
    """What the tenant may, and its weight, by the names that they have in the file."""
