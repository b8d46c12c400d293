from __future__ import annotations

from datetime import timedelta

import pytest

from nexus.domain.errors import Refused
from nexus.domain.events import Parent, RunCancelled, RunCompleted, RunDeferred, RunRequeued
from nexus.domain.placement import (
    Append,
    Create,
    Drop,
    Wait,
    cancelled_with,
    is_for_good,
    place,
    refused,
    timed_out,
)
from nexus.domain.run import Run, Stage, begin, fold
from tests.support.factories import (
    AT,
    CLUSTER,
    REQUEST_ID,
    after,
    cancelled,
    completed,
    fact,
    folded,
    job_created,
    run_requested,
)

PARENT_ID = "019b7c9e-6c2e-7000-8000-00000000000f"
PARENT = Parent(request_id=PARENT_ID, algorithm_name="parent-algorithm")
NOW = after(10)


def parent(*facts, **fields) -> Run:
    run = begin(run_requested(PARENT_ID, algorithm="parent-algorithm", **fields))
    for position, each in enumerate(facts):
        run = fold(run, each, position)
    return run


def of_parent(kind, *args, **fields):
    return kind(*args, **{"request_id": PARENT_ID, "algorithm": "parent-algorithm"} | fields)


CHILD = begin(run_requested(parent=PARENT))
LIVING = parent(of_parent(job_created, job_uid="parent-uid"))


def test_a_request_whose_row_is_not_there_waits():
    assert place(None, None, CLUSTER, NOW) == Wait()


def test_a_queued_run_gets_its_job():
    run = folded()
    assert place(run, None, CLUSTER, NOW) == Create(run, parent_uid="")


def test_a_run_that_was_parked_and_requeued_gets_its_job():
    run = folded(fact(RunDeferred, 1, attempt=1, until=after(5)), fact(RunRequeued, 6, attempt=1))
    assert place(run, None, CLUSTER, NOW) == Create(run)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(folded(job_created()), id="has its job"),
        pytest.param(folded(job_created(), completed()), id="completed"),
        pytest.param(folded(cancelled()), id="cancelled"),
        pytest.param(folded(request=run_requested(cluster="eu")), id="another cluster's"),
        pytest.param(folded(cancelled(), request=run_requested(dry_run=True)), id="cancelled dry run"),
    ],
)
def test_what_needs_no_job_is_dropped(run):
    assert place(run, None, CLUSTER, NOW) == Drop()
    assert place(run, None, CLUSTER, run.request.placement_deadline) == Drop()


# --- deadline, dry run


@pytest.mark.parametrize(
    ("before", "placed"), [(timedelta(seconds=1), True), (timedelta(0), False), (-timedelta(1), False)]
)
def test_a_run_is_placed_before_its_deadline_only(before, placed):
    run = folded()
    decision = place(run, None, CLUSTER, run.request.placement_deadline - before)
    assert decision == (
        Create(run) if placed else Append(timed_out(run, run.request.placement_deadline - before))
    )


def test_a_dry_run_completes_without_a_job():
    run = folded(request=run_requested(dry_run=True))
    end = RunCompleted(request_id=REQUEST_ID, algorithm="hello-world", at=NOW, job_uid="dry-run")
    assert place(run, None, CLUSTER, NOW) == Append(end)
    assert fold(run, end, 0).stage == Stage.COMPLETED


def test_a_run_that_timed_out_says_why_it_could_not_be_placed():
    end = timed_out(folded(), NOW)
    assert end.diagnosis.category == "PlacementDeadline"
    assert end.diagnosis.cause.startswith(
        "Algorithm submission was buffered, but failed to launch on the target cluster: It could not be placed"
    )
    assert "no scheduler could place it" in end.diagnosis.cause
    assert fold(folded(), end, 0).stage == Stage.SCHEDULING_FAILED


def test_a_run_that_timed_out_names_the_last_refusal():
    run = folded(
        fact(RunDeferred, attempt=1, until=after(5), reason="the cluster answered 403: exceeded quota")
    )
    assert "Last: the cluster answered 403: exceeded quota" in timed_out(run, NOW).diagnosis.cause


def test_a_refusal_that_the_scheduler_knows_is_later_than_one_in_the_row():
    run = folded(fact(RunDeferred, attempt=1, until=after(5), reason="the first"))
    decision = place(run, None, CLUSTER, run.request.placement_deadline, "the last")
    assert isinstance(decision, Append)
    assert "Last: the last" in decision.fact.diagnosis.cause


@pytest.mark.parametrize(
    ("status", "reason", "denied_for", "for_good"),
    [
        (422, "invalid", None, True),
        (404, "no such namespace", None, True),
        (403, "forbidden", None, False),
        (403, "forbidden", 59, False),
        (403, "forbidden", 60, True),
        (401, "Unauthorized", 60, True),
        (403, "forbidden: exceeded quota: jobs", 60, False),
        (409, "conflict", 60, False),
        (429, "slow down", 60, False),
        (503, "closed", 60, False),
    ],
)
def test_a_denial_is_for_good_after_a_grace_and_others_are_never_or_at_once(
    status, reason, denied_for, for_good
):
    run = folded(fact(RunDeferred, 10, attempt=1, until=after(20), denied=True)) if denied_for else folded()
    now = after(10 + (denied_for or 0))
    assert is_for_good(Refused(status, reason), run, now, timedelta(seconds=60)) is for_good


def test_a_refusal_for_good_is_a_scheduling_failure_with_the_cluster_s_reason():
    end = refused(folded(), "the cluster answered 422: spec.template is invalid", NOW)
    assert end.diagnosis.category == "InvalidJob"
    assert end.diagnosis.cause == (
        "Algorithm submission was buffered, but failed to launch on the target cluster: "
        "the cluster answered 422: spec.template is invalid"
    )
    assert (end.at, fold(folded(), end, 0).stage) == (NOW, Stage.SCHEDULING_FAILED)


# --- children


def test_a_child_is_owned_by_the_living_job_of_its_parent():
    assert place(CHILD, LIVING, CLUSTER, NOW) == Create(CHILD, parent_uid="parent-uid")


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(None, id="unknown"),
        pytest.param(parent(), id="queued"),
        pytest.param(parent(of_parent(job_created), of_parent(completed)), id="completed"),
        pytest.param(
            parent(of_parent(job_created), of_parent(cancelled, policy="Orphan")), id="cancelled as orphan"
        ),
        pytest.param(parent(of_parent(job_created, cluster="eu"), cluster="eu"), id="on another cluster"),
        pytest.param(parent(of_parent(completed, job_uid="dry-run"), dry_run=True), id="a dry run"),
    ],
)
def test_a_child_without_a_living_parent_s_job_here_has_no_owner(row):
    assert place(CHILD, row, CLUSTER, NOW) == Create(CHILD, parent_uid="")


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_a_child_goes_with_its_cancelled_parent(policy):
    row = parent(of_parent(job_created), of_parent(cancelled, policy=policy))
    decision = place(CHILD, row, CLUSTER, NOW)
    assert decision == Append(cancelled_with(CHILD, row, NOW))
    assert isinstance(decision, Append)
    assert isinstance(decision.fact, RunCancelled)
    assert (decision.fact.request_id, decision.fact.algorithm) == (REQUEST_ID, "hello-world")
    assert (decision.fact.policy, decision.fact.initiator, decision.fact.at) == (policy, "me", NOW)
    assert (decision.fact.reason, decision.fact.with_parent) == ("not needed", PARENT_ID)
    assert fold(CHILD, decision.fact, 0).stage == Stage.CANCELLED


def test_a_cancelled_parent_comes_before_a_dry_run_and_a_deadline():
    row = parent(of_parent(cancelled))
    child = begin(run_requested(parent=PARENT, dry_run=True))
    decision = place(child, row, CLUSTER, child.request.placement_deadline)
    assert decision == Append(cancelled_with(child, row, child.request.placement_deadline))


def test_a_child_that_ended_is_dropped_whatever_its_parent_does():
    row = parent(of_parent(cancelled))
    assert place(fold(CHILD, completed(), 0), row, CLUSTER, AT) == Drop()
