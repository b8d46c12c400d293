"""Judging: which rule applies to a run, and the fact that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from nexus.domain.diagnosis.ending import Ending, Failure, ended
from nexus.domain.diagnosis.rules import (
    JOB_VANISHED,
    NO_REPORT,
    RULES,
    Grace,
    Rule,
)
from nexus.domain.diagnosis.sight import USUAL_WAITS, Sight, sight
from nexus.domain.events import Diagnosis, Evidence, RunObserved
from nexus.domain.observed import JobView, PodView
from nexus.domain.run import Run

__all__ = [
    "Stall",
    "diagnose",
    "give_up",
    "silent",
    "stall",
    "tells_all",
    "vanished",
]


class Stall(NamedTuple):
    """What a run hangs in, and the name of the grace that it has."""

    rule: Rule
    grace: Grace
    diagnosis: Diagnosis


def diagnose(run: Run, observed: RunObserved, evidence: Evidence, at: datetime) -> Failure:
    """The fact that ends a run whose Job has the condition `Failed`."""
    seen = sight(run, observed.job, observed.pods, observed.waited, evidence.events)
    return _failure(run, seen, evidence, at)


def tells_all(pods: Sequence[PodView]) -> bool:
    """Whether a look at these pods is enough for `stall`; else the cluster's events are needed as well."""
    last = pods[-1] if pods else None
    if last is None or not last.alive:
        return False
    waits = last.waiting is not None and last.waiting.reason not in USUAL_WAITS
    return last.started_at is not None or waits or last.unschedulable is not None


def stall(run: Run, job: JobView, pods: Sequence[PodView], events: Sequence[str]) -> Stall | None:
    """What a run hangs in whose Job has not ended; None while it goes on as it should."""
    if job.condition("Suspended"):
        return None  # who suspended it resumes it
    seen = sight(run, job, pods, events=events)
    if seen.last and not seen.alive and not seen.refused:
        return None  # the Job's controller waits before it makes the next pod
    for rule in RULES:
        if rule.grace and rule.applies(seen):
            return Stall(rule, rule.grace, _diagnosis(rule, seen))
    return None


def give_up(
    run: Run, job: JobView, pods: Sequence[PodView], evidence: Evidence, at: datetime
) -> Failure | None:
    """The fact that ends a run which has hung for too long; None where it hangs in something else by now."""
    found = stall(run, job, pods, evidence.events)
    if found is None or run.stalled is None or found.diagnosis.category != run.stalled.category:
        return None
    seen = sight(run, job, pods, events=evidence.events)
    # A Job that has failed but for a pod that does not go failed for its own reason.
    return (
        _failure(run, seen, evidence, at)
        if seen.reason
        else ended(run, found.rule, found.diagnosis, evidence, at)
    )


def silent(run: Run, evidence: Evidence, at: datetime) -> Failure:
    """The Job completed and the algorithm reported nothing."""
    details = "Its Job completed with exit code 0, and the receiver was told nothing."
    return _said(run, NO_REPORT, details, evidence, at)


def vanished(run: Run, evidence: Evidence, at: datetime) -> Failure:
    """The Job is gone and nobody ended the run."""
    details = f"Job {run.id} (uid {run.job_uid}) is not on cluster {run.request.cluster} any more."
    return _said(run, JOB_VANISHED, details, evidence, at)


def _failure(run: Run, seen: Sight, evidence: Evidence, at: datetime) -> Failure:
    rule = next(rule for rule in RULES if not rule.only_hangs and rule.applies(seen))
    return ended(run, rule, _diagnosis(rule, seen), evidence, at)


def _diagnosis(rule: Rule, seen: Sight) -> Diagnosis:
    words = (seen.failed.message if seen.failed else "", rule.details(seen))
    return Diagnosis(
        category=rule.category,
        cause=rule.cause,
        details="\n".join(filter(None, words)),
        hint=" ".join(filter(None, (rule.hint, rule.advice(seen)))),
    )


def _said(run: Run, ending: Ending, details: str, evidence: Evidence, at: datetime) -> Failure:
    diagnosis = Diagnosis(category=ending.category, cause=ending.cause, details=details, hint=ending.hint)
    return ended(run, ending, diagnosis, evidence, at)
