"""What a scheduler does with a request, seconds before it would create its Job (docs/architecture.md, "From request to run")."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from nexus.domain.diagnosis.refusals import explain
from nexus.domain.errors import Refused
from nexus.domain.events import DeletionPolicy, Fact, RunCancelled, RunCompleted, RunSchedulingFailed
from nexus.domain.run import DRY_RUN, Run

__all__ = [
    "Append",
    "Create",
    "Drop",
    "Wait",
    "cancelled_with",
    "is_for_good",
    "place",
    "refused",
    "timed_out",
]


_TAKING = {DeletionPolicy.BACKGROUND, DeletionPolicy.FOREGROUND}
"""The policies that take children along."""


class Wait(msgspec.Struct, frozen=True):
    """The row is not there yet: the ledger is behind the requests topic."""


class Drop(msgspec.Struct, frozen=True):
    """Nothing to do: the run has its Job, or has ended, or belongs to another cluster."""


class Append(msgspec.Struct, frozen=True):
    """No Job is to be made: this fact says why."""

    fact: Fact


class Create(msgspec.Struct, frozen=True):
    """Create the Job, owned by the parent's Job where `parent_uid` is given."""

    run: Run
    parent_uid: str = ""


def place(
    run: Run | None, parent: Run | None, cluster: str, now: datetime, refusal: str = ""
) -> Wait | Drop | Append | Create:
    """`parent` is the row of the run's parent, read after the row of the run itself; `refusal` is the cluster's last."""
    if run is None:
        return Wait()
    request = run.request
    if run.ended or run.job_uid or request.cluster != cluster:
        return Drop()
    if parent and parent.ended and parent.cancellation_policy in _TAKING:
        return Append(cancelled_with(run, parent, now))
    if request.dry_run:
        return Append(RunCompleted(request_id=run.id, algorithm=request.algorithm, at=now, job_uid=DRY_RUN))
    if now >= request.placement_deadline:
        return Append(timed_out(run, now, refusal))
    lives = parent is not None and not parent.ended and parent.has_job and parent.request.cluster == cluster
    return Create(run, parent.job_uid if parent and lives else "")


def cancelled_with(run: Run, parent: Run, now: datetime) -> RunCancelled:
    """The end of a child whose parent was cancelled with a policy that takes its children along, in the same words."""
    return RunCancelled(
        request_id=run.id,
        algorithm=run.request.algorithm,
        at=now,
        initiator=parent.cancelled_by,
        reason=parent.cancelled_because,
        policy=DeletionPolicy(parent.cancellation_policy),
        with_parent=parent.id,
        subject=parent.cancelled_subject,
    )


def is_for_good(error: Refused, run: Run, now: datetime, grace: timedelta) -> bool:
    """Whether trying again cannot help: a denial becomes one once every parking for `grace` was because of a denial."""
    denied = error.denied and run.denied_since is not None and now - run.denied_since >= grace
    return error.final or denied


def timed_out(run: Run, now: datetime, refusal: str = "") -> RunSchedulingFailed:
    """The placement deadline passed. The last refusal of the cluster, as far as it is known, is the cause."""
    last = (
        refusal
        or run.deferred_because
        or "no scheduler could place it: the cluster was full or could not be reached"
    )
    return refused(
        run, f"It could not be placed before its deadline. Last: {last}", now, category="PlacementDeadline"
    )


def refused(run: Run, reason: str, now: datetime, *, category: str = "") -> RunSchedulingFailed:
    """The cluster will not have this Job, and said so; the category is that of its words where none is given."""
    diagnosis = explain(reason)
    return RunSchedulingFailed(
        request_id=run.id,
        algorithm=run.request.algorithm,
        at=now,
        diagnosis=replace(diagnosis, category=category or diagnosis.category),
    )
