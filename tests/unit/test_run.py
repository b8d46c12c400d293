from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nexus.domain.events import (
    NO_PAYLOAD,
    Evidence,
    EvidenceRecorded,
    JobCollected,
    Parent,
    RunCancelled,
    RunCompleted,
    RunDeadlineExceeded,
    RunDeferred,
    RunFailed,
    RunRequeued,
    RunSchedulingFailed,
    RunStarted,
    RunTagged,
    event_id,
)
from nexus.domain.run import DRY_RUN, Run, Stage, State, begin, fold, notification
from tests.support.factories import (
    ALGORITHM,
    REQUEST_ID,
    after,
    cancelled,
    completed,
    diagnosis,
    fact,
    folded,
    job_created,
    run_requested,
)


def started(seconds: float = 2, **fields) -> RunStarted:
    return fact(RunStarted, seconds, **{"started_at": after(seconds - 0.5), "pod": "pod-1"} | fields)


def deferred(attempt: int = 1, seconds: float = 1) -> RunDeferred:
    return fact(RunDeferred, seconds, attempt=attempt, until=after(seconds + 60), reason="quota")


def requeued(attempt: int = 1, seconds: float = 61) -> RunRequeued:
    return fact(RunRequeued, seconds, attempt=attempt)


def tagged(tag: str, seconds: float = 2) -> RunTagged:
    return fact(RunTagged, seconds, tag=tag)


def collected(seconds: float = 9, **fields) -> JobCollected:
    return fact(JobCollected, seconds, **{"job_uid": "job-uid"} | fields)


def failed(seconds: float = 3, cause: str = "boom") -> RunFailed:
    return fact(RunFailed, seconds, diagnosis=diagnosis(cause))


ENDS = {
    Stage.COMPLETED: completed(),
    Stage.FAILED: failed(),
    Stage.DEADLINE_EXCEEDED: fact(RunDeadlineExceeded, 3, diagnosis=diagnosis("too long")),
    Stage.SCHEDULING_FAILED: fact(RunSchedulingFailed, 3, diagnosis=diagnosis("no room")),
    Stage.CANCELLED: cancelled(),
}
every_end = pytest.mark.parametrize("stage", list(ENDS))


# --- the way of a run


def test_a_request_is_buffered_and_queued():
    request = run_requested(tag="t")
    run = begin(request)
    assert (run.stage, run.state, run.position) == (Stage.BUFFERED, State.QUEUED, -1)
    assert (run.id, run.tag, run.last_modified) == (REQUEST_ID, "t", request.at)
    assert not run.ended
    assert not run.has_job


def test_the_state_holds_the_request_without_its_payload_and_still_its_identity():
    request = run_requested()
    assert begin(request).request.payload is NO_PAYLOAD
    assert event_id(begin(request).request) == event_id(request)


def test_a_job_makes_the_run_running():
    run = folded(job_created(1))
    assert (run.stage, run.state) == (Stage.RUNNING, State.PLACED)
    assert (run.job_uid, run.cluster_id, run.sent_at) == ("job-uid", "cluster-uid", after(1))
    assert run.has_job


def test_a_start_is_the_pod_s_own_time():
    run = folded(job_created(1), started(2))
    assert (run.stage, run.state, run.started_at) == (Stage.RUNNING, State.RUNNING, after(1.5))
    assert run.last_modified == after(2)


def test_the_first_job_and_the_first_start_stand():
    run = folded(job_created(1), started(2), job_created(3, job_uid="other"), started(4, pod="pod-2"))
    assert (run.job_uid, run.sent_at, run.started_at) == ("job-uid", after(1), after(1.5))


@every_end
def test_every_end_has_its_stage(stage):
    run = folded(job_created(1), started(2), ENDS[stage])
    assert (run.stage, run.state, run.ended) == (stage, State.ENDED, True)
    assert stage.finished
    assert (run.ended_at, run.ended_by, run.last_modified) == (after(3), event_id(ENDS[stage]), after(3))


@every_end
def test_a_run_may_end_before_it_has_a_job(stage):
    assert folded(ENDS[stage]).stage == stage


@pytest.mark.parametrize("stage", [Stage.NEW, Stage.BUFFERED, Stage.RUNNING])
def test_only_the_last_five_stages_are_finished(stage):
    assert not stage.finished
    assert {stage for stage in Stage if stage.finished} == set(ENDS)


def test_a_completed_run_has_its_result_and_no_diagnosis():
    run = folded(completed(result_uri="s3://r"))
    assert (run.result_uri, run.diagnosis) == ("s3://r", None)


def test_a_cancelled_run_says_who_and_why_in_the_words_of_the_contract():
    run = folded(cancelled(initiator="o'hara", reason="wrong data", policy="Foreground"))
    assert run.diagnosis
    assert run.diagnosis.cause == "Cancelled by 'o'hara'"
    assert run.diagnosis.details == "Run cancelled, reason: 'wrong data'"
    assert run.cancellation_policy == "Foreground"


@pytest.mark.parametrize("kind", [RunFailed, RunDeadlineExceeded, RunSchedulingFailed])
def test_a_failed_run_keeps_the_texts_of_who_diagnosed_it(kind):
    said = diagnosis("<class 'ValueError'>: boom)", details="Traceback", hint="look")
    assert folded(fact(kind, diagnosis=said)).diagnosis == said


def test_a_dry_run_completes_without_a_job():
    run = folded(completed(job_uid=DRY_RUN, result_uri=""))
    assert (run.stage, run.job_uid, run.sent_at) == (Stage.COMPLETED, "dry-run", after(3))
    assert not run.has_job


# --- the first end stands


@every_end
@pytest.mark.parametrize("later", list(ENDS))
def test_the_first_terminal_fact_wins(stage, later):
    run = folded(job_created(1), ENDS[stage])
    contradiction = replace(ENDS[later], at=after(7))
    assert fold(run, contradiction, 2) == replace(run, position=2)


def test_a_job_that_appears_after_the_end_is_known_and_does_not_make_the_run_run():
    run = folded(cancelled(1), job_created(2))
    assert (run.stage, run.state) == (Stage.CANCELLED, State.ENDED)
    assert (run.job_uid, run.has_job, run.sent_at) == ("job-uid", True, after(2))


def test_a_start_after_the_end_is_known_and_changes_no_stage():
    run = folded(cancelled(1), job_created(2), started(3))
    assert (run.stage, run.state, run.started_at) == (Stage.CANCELLED, State.ENDED, after(2.5))


def test_a_collected_job_is_no_longer_there():
    run = folded(job_created(1), completed(3), collected(9))
    assert (run.collected_at, run.has_job) == (after(9), False)
    assert fold(run, collected(20, by="other"), 9).collected_at == after(9)


def test_collecting_is_no_change_that_a_reader_sees():
    assert folded(job_created(1), completed(3), collected(9)).last_modified == after(3)


def test_evidence_changes_nothing_but_the_position():
    run = folded(job_created(1), failed(3))
    evidence = fact(EvidenceRecorded, 9, evidence=Evidence(log_tail="boom"))
    assert fold(run, evidence, 7) == replace(run, position=7)


@pytest.mark.parametrize("stage", list(ENDS))
def test_another_algorithm_s_fact_changes_nothing_but_the_position(stage):
    run = folded(job_created(1))
    assert fold(run, replace(ENDS[stage], algorithm="another"), 5) == replace(run, position=5)


# --- parking and tags


def test_a_deferred_request_is_parked_until_it_is_requeued():
    run = folded(deferred(1))
    assert (run.stage, run.state) == (Stage.BUFFERED, State.PARKED)
    assert (run.deferrals, run.deferred_until, run.deferred_because) == (1, after(61), "quota")
    run = fold(run, requeued(1), 1)
    assert (run.state, run.deferred_until, run.deferrals) == (State.QUEUED, None, 1)


def test_a_request_may_be_parked_again_and_an_older_requeue_does_not_release_it():
    run = folded(deferred(1), requeued(1), deferred(2, 70))
    assert (run.state, run.deferrals, run.deferred_until) == (State.PARKED, 2, after(130))
    assert fold(run, requeued(1), 9).state == State.PARKED
    assert fold(run, deferred(1), 9).deferrals == 2
    assert fold(run, requeued(2), 9).state == State.QUEUED


@pytest.mark.parametrize("earlier", [job_created(1), completed(1), cancelled(1)])
def test_a_run_that_has_its_job_or_has_ended_is_not_parked(earlier):
    run = folded(earlier)
    assert fold(run, deferred(1, 2), 1) == replace(run, position=1)
    assert fold(run, requeued(1, 2), 1) == replace(run, position=1)


@pytest.mark.parametrize("end", [job_created(2), completed(2), cancelled(2)])
def test_a_job_or_an_end_unparks(end):
    assert folded(deferred(1), end).deferred_until is None


def test_the_last_tag_wins_also_after_the_end_and_may_go_back():
    run = folded(
        tagged("a", 1), tagged("b", 2), completed(3), tagged("a", 4), request=run_requested(tag="first")
    )
    assert (run.tag, run.stage, run.last_modified) == ("a", Stage.COMPLETED, after(4))
    assert fold(run, tagged("b", 2), 9).tag == "a"


# --- any order, any delivery

_seconds = st.integers(1, 5)
_facts = st.one_of(
    st.builds(job_created, _seconds, job_uid=st.sampled_from(["job-1", "job-2"])),
    st.builds(started, _seconds),
    st.builds(deferred, st.integers(1, 3), _seconds),
    st.builds(requeued, st.integers(1, 3), _seconds),
    st.builds(tagged, st.sampled_from("ab"), _seconds),
    st.builds(collected, _seconds),
    st.builds(completed, _seconds, result_uri=st.sampled_from(["s3://a", "s3://b"])),
    st.builds(completed, _seconds, job_uid=st.just(DRY_RUN)),
    st.builds(completed, _seconds, algorithm=st.just("another")),
    st.builds(cancelled, _seconds, initiator=st.sampled_from(["me", "you"])),
    st.builds(failed, _seconds, st.sampled_from(["boom", "bang"])),
    st.builds(lambda at: fact(RunDeadlineExceeded, at, diagnosis=diagnosis("late")), _seconds),
    st.builds(lambda at: fact(RunSchedulingFailed, at, diagnosis=diagnosis("full")), _seconds),
    st.builds(lambda at: fact(EvidenceRecorded, at, evidence=Evidence(note="none")), _seconds),
)


def _as_written(facts):
    """The reconciler requeues what it saw parked, so a requeue lies behind its deferral."""
    parked = set()
    for each in facts:
        if isinstance(each, RunDeferred):
            parked.add(each.attempt)
        if not isinstance(each, RunRequeued) or each.attempt in parked:
            yield each


_log = st.lists(_facts, max_size=12).map(_as_written).map(list)


def fold_all(run: Run, log, positions) -> Run:
    for position in positions:
        run = fold(run, log[position], position)
    return run


@given(_log, st.data())
def test_redelivery_and_batches_make_no_difference(log, data):
    """A reader may fall back to any earlier position at any time; the state is kept and read back between batches."""
    run = begin(run_requested())
    expected = fold_all(run, log, range(len(log)))
    position = 0
    for _ in range(data.draw(st.integers(0, 5))):
        end = data.draw(st.integers(position, len(log)))
        run = stored(fold_all(run, log, range(position, end)))
        position = data.draw(st.integers(0, end))
    assert fold_all(run, log, range(position, len(log))) == expected


@given(_log)
def test_what_was_folded_already_is_not_looked_at_again(log):
    run = fold_all(begin(run_requested()), log, range(len(log)))
    assert all(fold(run, each, position) is run for position, each in enumerate(log))


def stored(run: Run) -> Run:
    return msgspec.json.decode(msgspec.json.encode(run), type=Run)


@given(_log, st.data())
def test_a_repeat_at_a_later_position_makes_no_difference(log, data):
    """Writers say a thing again when they do not know whether they were heard."""
    repeated = list(log)
    for _ in range(data.draw(st.integers(0, 4)) if log else 0):
        index = data.draw(st.integers(0, len(repeated) - 1))
        repeated.insert(data.draw(st.integers(index + 1, len(repeated))), repeated[index])
    once = fold_all(begin(run_requested()), log, range(len(log)))
    more = fold_all(begin(run_requested()), repeated, range(len(repeated)))
    assert replace(more, position=0) == replace(once, position=0)


@given(_log)
def test_an_end_stands_and_the_position_only_grows(log):
    run = begin(run_requested())
    for position, each in enumerate(log):
        now = fold(run, each, position)
        assert now.position == position > run.position
        if run.ended:
            assert (now.stage, now.ended_by, now.ended_at) == (run.stage, run.ended_by, run.ended_at)
            assert (now.diagnosis, now.result_uri) == (run.diagnosis, run.result_uri)
        assert now.ended == now.stage.finished
        assert (now.stage == Stage.RUNNING) == (bool(now.job_uid) and not now.ended)
        run = now


@given(_log)
def test_the_end_is_the_first_terminal_fact_of_the_run_itself(log):
    run = fold_all(begin(run_requested()), log, range(len(log)))
    ends = (RunCompleted, RunFailed, RunDeadlineExceeded, RunSchedulingFailed, RunCancelled)
    own = [each for each in log if isinstance(each, ends) and each.algorithm == ALGORITHM]
    assert run.ended_by == (event_id(own[0]) if own else "")


@given(_log)
def test_the_state_survives_its_encoding(log):
    run = fold_all(begin(run_requested()), log, range(len(log)))
    assert stored(run) == run


# --- notification


@every_end
def test_a_notification_says_what_reading_the_results_says(stage):
    run = folded(
        ENDS[stage], request=run_requested(tag="t", parent=Parent(request_id="p", algorithm_name="q"))
    )
    said = notification(run)
    assert (said.request_id, said.algorithm, said.at) == (REQUEST_ID, ALGORITHM, after(3))
    assert (said.status, said.result_uri) == (stage.value, run.result_uri)
    assert said.run_error_message == (run.diagnosis.cause if run.diagnosis else "")
    assert (said.tag, said.parent) == ("t", Parent(request_id="p", algorithm_name="q"))


def test_a_notification_s_id_follows_from_the_end_alone():
    run = folded(job_created(1), completed(3))
    later = fold(fold(fold(run, failed(5), 2), started(6), 3), collected(9), 4)
    assert event_id(notification(later)) == event_id(notification(run))


def test_a_denial_is_remembered_until_another_reason_parks_the_run():
    parked = [
        fact(RunDeferred, 10, attempt=1, until=after(20), reason="403", denied=True),
        fact(RunRequeued, 20, attempt=1),
        fact(RunDeferred, 30, attempt=2, until=after(40), reason="403", denied=True),
    ]
    assert folded(*parked).denied_since == after(10)
    other = fact(RunDeferred, 50, attempt=3, until=after(60), reason="503")
    assert folded(*parked, fact(RunRequeued, 40, attempt=2), other).denied_since is None
