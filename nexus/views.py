"""What our own API answers, for who serves it and who calls it. Members that a newer server adds are passed over."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from nexus.domain.events import Diagnosis, Parent
from nexus.domain.garbage import Garbage
from nexus.domain.run import DRY_RUN, Stage, State

__all__ = ["Accepted", "AccessView", "GarbageReport", "RunEvent", "RunEvents", "RunPage", "RunView"]


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
