"""What each event of a run's history says, in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from nexus.domain.events import (
    Event,
    Evidence,
    EvidenceRecorded,
    JobCollected,
    JobCreated,
    OrphanCollected,
    PayloadCollected,
    RunCancelled,
    RunCompleted,
    RunDeadlineExceeded,
    RunDeferred,
    RunFailed,
    RunRequested,
    RunRequeued,
    RunSchedulingFailed,
    RunStarted,
    RunTagged,
)

if TYPE_CHECKING:
    from nexus.client import RunEvent

__all__ = ["evidence_of", "log_tail", "note_of", "said"]


def said(event: RunEvent) -> str:
    """An event of a type that is not known here is shown as it came."""
    try:
        return _said(msgspec.convert(event.data, Event))
    except msgspec.ValidationError:
        return msgspec.json.encode(event.data).decode()


def evidence_of(events: Sequence[RunEvent]) -> Evidence | None:
    """The last evidence that was recorded of a run's Job."""
    for event in reversed(events):
        if event.data.get("evidence") is not None:
            try:
                return msgspec.convert(event.data["evidence"], Evidence)
            except msgspec.ValidationError:
                continue
    return None


def log_tail(events: Sequence[RunEvent]) -> str:
    evidence = evidence_of(events)
    return evidence.log_tail if evidence else ""


def note_of(events: Sequence[RunEvent]) -> str:
    """Why there is no evidence, where that was said."""
    evidence = evidence_of(events)
    return evidence.note if evidence else ""


def _said(event: Event) -> str:
    match event:
        case RunRequested():
            dry = ", dry run" if event.dry_run else ""
            return f"for {event.cluster}, workgroup {event.workgroup}, payload of {event.payload_size} bytes{dry}"
        case JobCreated():
            return f"on {event.cluster}, Job uid {event.job_uid}"
        case RunStarted():
            return f"pod {event.pod}" if event.pod else ""
        case RunDeferred():
            return f"attempt {event.attempt}, parked until {event.until:%H:%M:%S}Z: {event.reason}"
        case RunRequeued():
            return f"attempt {event.attempt}"
        case RunTagged():
            return event.tag
        case RunCompleted():
            return event.result_uri or event.job_uid
        case RunFailed() | RunDeadlineExceeded() | RunSchedulingFailed():
            return "\n".join(filter(None, (event.diagnosis.cause, _shown(event.evidence))))
        case RunCancelled():
            parent = event.with_parent and f"with its parent {event.with_parent}"
            return ", ".join(filter(None, (f"by {event.initiator!r}", event.reason, event.policy, parent)))
        case EvidenceRecorded():
            return _shown(event.evidence)
        case JobCollected():
            return "deleted by Nexus" if event.by == "nexus" else "found deleted"
        case OrphanCollected():
            done = "deleted" if event.confirmed else "to be deleted"
            return "\n".join(filter(None, (f"Job {done}: {event.because}", _shown(event.evidence))))
        case PayloadCollected():
            return f"payload {'removed' if event.confirmed else 'to be removed'}: {event.because}"
        case _:
            return ""


def _shown(evidence: Evidence | None) -> str:
    if evidence is None:
        return ""
    if evidence.note:
        return evidence.note
    pods = ", ".join(f"{pod.metadata.name} {pod.status.phase}" for pod in evidence.pods)
    return "\n".join(filter(None, (pods, *evidence.events)))
