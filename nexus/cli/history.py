"""What each event of a run's history says, in a few words."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

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
    RunStalled,
    RunStarted,
    RunTagged,
)
from nexus.domain.observed import PodView

if TYPE_CHECKING:
    from nexus.client import RunEvent

__all__ = ["attempts", "evidence_of", "said"]


def said(event: RunEvent) -> str:
    """An event of a type that is not known here is shown as it came."""
    try:
        return _said(msgspec.convert(event.data, Event))
    except msgspec.ValidationError:
        return msgspec.json.encode(event.data).decode()


def evidence_of(events: Sequence[RunEvent]) -> Evidence | None:
    """The last evidence that was recorded of a run's Job, with the last log that was."""
    found: list[Evidence] = []
    for event in events:
        with contextlib.suppress(msgspec.ValidationError):
            if event.data.get("evidence") is not None:
                found.append(msgspec.convert(event.data["evidence"], Evidence))
    if not found:
        return None
    with_log = next((each for each in reversed(found) if each.log_tail), found[-1])
    if with_log is found[-1]:
        return with_log
    return replace(found[-1], log_tail=with_log.log_tail, log_of=with_log.log_of, note="")


def attempts(evidence: Evidence) -> list[str]:
    """How each of the last pods ended."""
    return [f"{pod.metadata.name}: {_how(pod)}" for pod in evidence.pods]


def _how(pod: PodView) -> str:
    end = pod.terminated
    if end:
        return f"exit code {end.exit_code} ({end.reason})"
    waiting = pod.waiting
    return ", ".join(
        filter(None, (pod.status.phase, pod.status.reason or (waiting.reason if waiting else "")))
    )


def _said(event: Event) -> str:
    match event:
        case RunRequested():
            dry = ", dry run" if event.dry_run else ""
            by = f", submitted by {event.subject}" if event.subject else ""
            return f"for {event.cluster}, workgroup {event.workgroup}, payload of {event.payload_size} bytes{dry}{by}"
        case JobCreated():
            return f"on {event.cluster}, Job uid {event.job_uid}"
        case RunStarted():
            return f"pod {event.pod}" if event.pod else ""
        case RunStalled():
            return "\n".join(filter(None, (event.diagnosis.category, event.diagnosis.details)))
        case RunDeferred():
            return f"attempt {event.attempt}, parked until {event.until:%H:%M:%S}Z: {event.reason}"
        case RunRequeued():
            return f"attempt {event.attempt}"
        case RunTagged():
            return ", ".join(filter(None, (event.tag, event.subject and f"by {event.subject}")))
        case RunCompleted():
            reported = event.result_uri or event.job_uid or "without a result"
            return "\n".join(filter(None, (reported, event.details)))
        case RunFailed() | RunDeadlineExceeded() | RunSchedulingFailed():
            return "\n".join(filter(None, (event.diagnosis.cause, _shown(event.evidence))))
        case RunCancelled():
            parent = event.with_parent and f"with its parent {event.with_parent}"
            proved = event.subject and f"proved to be {event.subject}"
            said = (f"by {event.initiator!r}", proved, event.reason, event.policy, parent)
            return ", ".join(filter(None, said))
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
    if evidence.note and not evidence.events:
        return evidence.note
    return "\n".join((*attempts(evidence), *evidence.events))
