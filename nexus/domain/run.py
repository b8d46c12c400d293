"""The run: its stages (contract §2) and the one fold that makes its state from its facts.

The fold takes facts and nothing else. It is idempotent: a fact that comes again, at the same position of the log or at
a later one, changes nothing, and the first terminal fact stands for ever.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from nexus.domain.events import (
    NO_PAYLOAD,
    REPORTED,
    Diagnosis,
    EvidenceRecorded,
    Fact,
    JobCollected,
    JobCreated,
    OrphanCollected,
    PayloadCollected,
    RunCancelled,
    RunCompleted,
    RunDeadlineExceeded,
    RunDeferred,
    RunEnded,
    RunFailed,
    RunRequested,
    RunRequeued,
    RunResumed,
    RunSchedulingFailed,
    RunStalled,
    RunStarted,
    RunTagged,
    TerminalFact,
    event_id,
)

__all__ = ["DRY_RUN", "Run", "Stage", "State", "begin", "fold", "notification"]

DRY_RUN = "dry-run"
"""The `job_uid` of a run for which no Job was made."""


class Stage(StrEnum):
    """As on the wire. NEW is upstream's; a run that can be read is at least BUFFERED here."""

    NEW = "NEW"
    BUFFERED = "BUFFERED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SCHEDULING_FAILED = "SCHEDULING_FAILED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"

    @property
    def finished(self) -> bool:
        return self not in {Stage.NEW, Stage.BUFFERED, Stage.RUNNING}


class State(StrEnum):
    """The finer state that our own API shows."""

    QUEUED = "queued"
    PARKED = "parked"
    PLACED = "placed"
    RUNNING = "running"
    ENDED = "ended"


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of a run: its request, and what its facts made of it. Times are UTC, None while unset.

    `position` is the offset in `nexus.runs` of the last fact that was folded, -1 before the first.
    `ended_by` is the id of the event that ended the run. `stalled` is what stalls its Job, and `stalled_since` when
    that was first seen.
    """

    request: RunRequested
    stage: Stage
    last_modified: datetime
    position: int = -1
    tag: str = ""
    tagged_by: tuple[str, ...] = ()
    cluster_id: str = ""
    job_uid: str = ""
    sent_at: datetime | None = None
    started_at: datetime | None = None
    deferrals: int = 0
    deferred_until: datetime | None = None
    deferred_because: str = ""
    denied_since: datetime | None = None
    """When a request was first parked because the cluster denied it; None once it was parked for another reason."""
    stalled: Diagnosis | None = None
    stalled_since: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str = ""
    result_uri: str = ""
    diagnosis: Diagnosis | None = None
    cancellation_policy: str = ""
    cancelled_by: str = ""
    cancelled_because: str = ""
    cancelled_subject: str = ""
    collected_at: datetime | None = None

    @property
    def id(self) -> str:
        return self.request.request_id

    @property
    def ended(self) -> bool:
        return bool(self.ended_by)

    @property
    def has_job(self) -> bool:
        """Whether a Job of this run was made and is not collected yet."""
        return self.job_uid not in {"", DRY_RUN} and self.collected_at is None

    @property
    def state(self) -> State:
        if self.ended:
            return State.ENDED
        if self.started_at:
            return State.RUNNING
        if self.job_uid:
            return State.PLACED
        return State.PARKED if self.deferred_until else State.QUEUED


def begin(request: RunRequested) -> Run:
    """The first state. The payload is not part of it: the ledger keeps that beside the row."""
    return Run(
        request=replace(request, payload=NO_PAYLOAD),
        stage=Stage.BUFFERED,
        last_modified=request.at,
        tag=request.tag,
    )


def fold(run: Run, fact: Fact, position: int) -> Run:
    """The state after one more fact, which lies at `position` of `nexus.runs`."""
    if position <= run.position:
        return run
    if fact.algorithm == run.request.algorithm:
        run = _apply(run, fact)
    return replace(run, position=position)


def _apply(run: Run, fact: Fact) -> Run:
    match fact:
        case JobCreated() if not run.job_uid:
            return replace(
                run,
                stage=run.stage if run.ended else Stage.RUNNING,
                job_uid=fact.job_uid,
                cluster_id=fact.cluster_id,
                sent_at=fact.at,
                deferred_until=None,
                last_modified=fact.at,
            )
        case RunStarted() if run.started_at is None:
            return replace(
                run,
                started_at=fact.started_at,
                stalled=None,
                stalled_since=None,
                last_modified=fact.at,
            )
        case RunStalled() if not run.ended and not _stalled_by(run, fact):
            return replace(run, stalled=fact.diagnosis, stalled_since=fact.at)
        case RunResumed() if run.stalled:
            return replace(run, stalled=None, stalled_since=None)
        case RunDeferred() if fact.attempt > run.deferrals and not run.job_uid and not run.ended:
            return replace(
                run,
                deferrals=fact.attempt,
                deferred_until=fact.until,
                deferred_because=fact.reason,
                denied_since=(run.denied_since or fact.at) if fact.denied else None,
                last_modified=fact.at,
            )
        case RunRequeued() if fact.attempt == run.deferrals and run.deferred_until:
            return replace(run, deferred_until=None, last_modified=fact.at)
        case RunTagged() if (said := event_id(fact)) not in run.tagged_by:
            return replace(run, tag=fact.tag, tagged_by=(*run.tagged_by, said), last_modified=fact.at)
        case JobCollected() if run.collected_at is None:
            return replace(run, collected_at=fact.at)
        case RunCompleted() | RunFailed() | RunDeadlineExceeded() | RunSchedulingFailed() | RunCancelled():
            return run if run.ended else _end(run, fact)
        case EvidenceRecorded() | OrphanCollected() | PayloadCollected() | _:
            return run


def _end(run: Run, fact: TerminalFact) -> Run:
    run = replace(
        run,
        ended_at=fact.at,
        ended_by=event_id(fact),
        last_modified=fact.at,
        deferred_until=None,
        stalled=None,
        stalled_since=None,
    )
    match fact:
        case RunCompleted():
            if fact.job_uid == DRY_RUN and not run.job_uid:
                run = replace(run, job_uid=DRY_RUN, sent_at=fact.at)
            remark = _remark(fact.details) if fact.details else None
            return replace(run, stage=Stage.COMPLETED, result_uri=fact.result_uri, diagnosis=remark)
        case RunCancelled():
            parent = f", with its parent {fact.with_parent}" if fact.with_parent else ""
            diagnosis = Diagnosis(
                category="Cancelled",
                cause=f"Cancelled by '{fact.initiator}'",
                details=f"Run cancelled, reason: '{fact.reason}'{parent}",
            )
            return replace(
                run,
                stage=Stage.CANCELLED,
                diagnosis=diagnosis,
                cancellation_policy=fact.policy,
                cancelled_by=fact.initiator,
                cancelled_because=fact.reason,
                cancelled_subject=fact.subject,
            )
        case RunFailed():
            stage = Stage.FAILED
        case RunDeadlineExceeded():
            stage = Stage.DEADLINE_EXCEEDED
        case RunSchedulingFailed():
            stage = Stage.SCHEDULING_FAILED
    return replace(run, stage=stage, diagnosis=fact.diagnosis)


def _remark(details: str) -> Diagnosis:
    """Of a run that completed, and whose algorithm had something to say all the same."""
    return Diagnosis(
        category=REPORTED,
        cause="",
        details=details,
        hint="The algorithm reported errorDetails without an errorCause, which completes a run: see whether it had failed.",
    )


def _stalled_by(run: Run, fact: RunStalled) -> bool:
    """Whether the run is known to hang in just this: the first that was seen of it says since when."""
    return run.stalled is not None and run.stalled.category == fact.diagnosis.category


def notification(run: Run) -> RunEnded:
    """What `nexus.results` says of a run that ended; its id follows from the run's end, so a repeat is recognised."""
    assert run.ended_at is not None
    return RunEnded(
        request_id=run.id,
        algorithm=run.request.algorithm,
        at=run.ended_at,
        status=run.stage.value,
        result_uri=run.result_uri,
        run_error_message=run.diagnosis.cause if run.diagnosis else "",
        tag=run.tag,
        parent=run.request.parent,
    )
