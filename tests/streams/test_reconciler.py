"""The reconciler: no run is silent, and nothing ends by absence or age alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nexus.config import NEVER
from nexus.domain.events import RunDeferred, RunFailed, RunSchedulingFailed, RunStarted
from nexus.domain.run import Run, Stage, State
from nexus.domain.topics import RUNS
from tests.streams.conftest import ELSEWHERE, MAX_BLIND, REQUESTS, Installation, run_id
from tests.support.factories import after, algorithm, completed, fact
from tests.support.simulated_cluster import SimulatedCluster

RUN = run_id(1)
GRACE = 30
DEADLINE = 3600


@pytest.fixture
async def nexus(installation):
    """With a ledger that follows. The reconciler looks when a test lets it."""
    installation.start_ledger()
    return installation


async def look(nexus: Installation, grace: float = GRACE, **graces: float) -> None:
    """One look, after which all that was said is folded."""
    await nexus.caught_up()
    await nexus.reconciler(grace, **graces).reconcile()
    await nexus.caught_up()


async def row_of(nexus: Installation, run: str = RUN) -> Run:
    row = await nexus.store.get(run)
    assert row
    return row


async def parked(nexus: Installation, seconds: float = 100, attempt: int = 1, **fields):
    run = await nexus.queued(1, **fields)
    until = nexus.clock() + timedelta(seconds=seconds)
    await nexus.say(fact(RunDeferred, request_id=RUN, attempt=attempt, until=until, reason="quota exceeded"))
    await nexus.reaches(RUN, lambda row: row.deferred_until)
    return run


# Parked


async def test_a_parked_request_comes_again_when_it_is_due(nexus):
    run = await parked(nexus)
    await look(nexus)
    assert len(await nexus.said(REQUESTS)) == 1
    nexus.clock.advance(100)
    await look(nexus)
    first, again = await nexus.said(REQUESTS)
    assert again == run.request
    assert first.request_id == again.request_id
    row = await nexus.store.get(RUN)
    assert row.state is State.QUEUED
    assert await nexus.history(RUN) == ["RunDeferred", "RunRequeued"]
    assert await nexus.store.payload(RUN) == b'{"size": 3}'


async def test_a_request_that_came_again_is_let_be(nexus):
    await parked(nexus)
    nexus.clock.advance(100)
    for _ in range(3):
        await look(nexus)
    assert len(await nexus.said(REQUESTS)) == 2


async def test_a_request_is_parked_and_comes_again_many_times(nexus):
    for attempt in (1, 2, 3):
        await nexus.queued(1)
        until = nexus.clock() + timedelta(seconds=100)
        await nexus.say(fact(RunDeferred, request_id=RUN, attempt=attempt, until=until))
        await nexus.reaches(RUN, lambda row, a=attempt: row.deferrals == a)
        nexus.clock.advance(100)
        await look(nexus)
        assert (await nexus.store.get(RUN)).deferred_until is None


# The placement deadline


async def test_a_request_that_nobody_could_place(nexus):
    await nexus.queued(1, placement_deadline=after(DEADLINE))
    await look(nexus)
    assert (await nexus.store.get(RUN)).stage is Stage.BUFFERED
    nexus.clock.advance(DEADLINE)
    await look(nexus)
    row = await nexus.store.get(RUN)
    assert (row.stage, row.diagnosis.category) == (Stage.SCHEDULING_FAILED, "PlacementDeadline")
    await look(nexus)
    assert await nexus.types(RUN) == ["RunSchedulingFailed"]


async def test_the_last_refusal_is_the_cause(nexus):
    await parked(nexus, seconds=2 * DEADLINE, placement_deadline=after(DEADLINE))
    nexus.clock.advance(DEADLINE)
    await look(nexus)
    row = await nexus.store.get(RUN)
    assert row.stage is Stage.SCHEDULING_FAILED
    assert "quota exceeded" in row.diagnosis.details


async def test_nothing_is_decided_before_the_watermark(installation):
    """The ledger is behind: the Job may exist, and the fact that says so may wait to be folded."""
    ledger = installation.start_ledger()
    await installation.queued(1, placement_deadline=after(DEADLINE))
    await installation.placed(2)
    await installation.stop(ledger)
    installation.cluster.lose(run_id(2))
    installation.clock.advance(DEADLINE)
    await installation.reconciler().reconcile()
    for run, facts in ((RUN, []), (run_id(2), ["JobCreated"])):
        assert await installation.types(run) == facts


# Vanished


async def test_a_job_that_vanished_is_told_after_a_grace(nexus):
    await nexus.placed()
    nexus.cluster.lose(RUN)
    await look(nexus)
    assert not (await nexus.store.get(RUN)).ended
    nexus.clock.advance(GRACE)
    await look(nexus)
    row = await nexus.store.get(RUN)
    assert (row.stage, row.diagnosis.category) == (Stage.FAILED, "JobVanished")
    await look(nexus)
    assert await nexus.types(RUN) == ["JobCreated", "RunFailed"]


async def test_another_job_under_its_name_is_not_its_job(nexus):
    await nexus.placed()
    nexus.cluster.lose(RUN)
    await nexus.placed(said=False)
    nexus.clock.advance(GRACE)
    await look(nexus)
    assert (await nexus.store.get(RUN)).diagnosis.category == "JobVanished"


async def test_a_job_that_is_there_may_take_its_time(nexus):
    await nexus.placed()
    nexus.clock.advance(30 * 24 * 3600)
    await look(nexus)
    assert await nexus.types(RUN) == ["JobCreated"]


async def test_a_run_that_ended_is_not_looked_for(nexus):
    await nexus.placed()
    await nexus.say(completed(request_id=RUN))
    nexus.cluster.lose(RUN)
    nexus.clock.advance(GRACE)
    await look(nexus)
    assert await nexus.types(RUN) == ["JobCreated", "RunCompleted"]


# Hanging


async def hanging(nexus: Installation, **fields) -> None:
    nexus.cluster.holds_starts = True
    await nexus.placed(**fields)
    nexus.cluster.wait(RUN, "ImagePullBackOff", "Back-off pulling image")
    nexus.clock.advance(GRACE)


async def test_what_a_run_hangs_in_is_shown_once_and_since_when(nexus):
    await hanging(nexus)
    before = nexus.clock()
    for _ in range(3):
        await look(nexus)
    row = await row_of(nexus)
    assert row.stalled.category == "ImagePull"
    assert "Back-off pulling image" in row.stalled.details
    assert before < row.stalled_since < nexus.clock()
    assert await nexus.types(RUN) == ["JobCreated", "RunStalled"]


async def test_it_is_given_up_after_its_grace_with_evidence(nexus):
    await hanging(nexus)
    await look(nexus, image_pull=600)
    nexus.clock.advance(599)
    await look(nexus, image_pull=600)
    assert not (await row_of(nexus)).ended
    nexus.clock.advance(1)
    await look(nexus, image_pull=600)
    row = await row_of(nexus)
    assert (row.stage, row.diagnosis.category, row.stalled) == (Stage.SCHEDULING_FAILED, "ImagePull", None)
    [end] = [event for event in await nexus.said(RUNS, RUN) if isinstance(event, RunSchedulingFailed)]
    assert [pod.waiting.reason for pod in end.evidence.pods] == ["ImagePullBackOff"]
    assert any("Back-off pulling image" in event for event in end.evidence.events)


async def test_the_grace_begins_anew_with_another_reason(nexus):
    await hanging(nexus)
    await look(nexus)
    nexus.clock.advance(59)
    nexus.cluster.wait(RUN, "CreateContainerConfigError", "no such secret")
    await look(nexus)
    nexus.clock.advance(59)
    await look(nexus)
    row = await row_of(nexus)
    assert (row.ended, row.stalled.category) == (False, "ContainerConfig")


@pytest.mark.parametrize("said", [True, False])
async def test_what_hangs_no_more_goes_on(nexus, said):
    """A start is said by the supervisor, or else it is the reconciler that sees it."""
    await hanging(nexus)
    await look(nexus)
    nexus.cluster.start(RUN)
    if said:
        await nexus.say(fact(RunStarted, request_id=RUN, started_at=nexus.clock()))
    nexus.clock.advance(3600)
    await look(nexus)
    row = await row_of(nexus)
    assert (row.stalled, row.stalled_since, row.ended) == (None, None, False)
    assert await nexus.types(RUN) == ["JobCreated", "RunStalled", "RunStarted" if said else "RunResumed"]


async def test_what_no_node_takes_is_waited_for_as_long_as_the_operator_says(nexus):
    nexus.cluster.holds_starts = True
    await nexus.placed()
    nexus.clock.advance(GRACE)
    for _ in range(3):
        await look(nexus, unschedulable=NEVER.total_seconds())
        nexus.clock.advance(365 * 24 * 3600)
    row = await row_of(nexus)
    assert (row.ended, row.stalled.category) == (False, "NotPlaced")


async def test_what_hung_and_then_reported_has_ended(nexus):
    """The first terminal fact stands."""
    await hanging(nexus)
    await look(nexus)
    await nexus.say(completed(request_id=RUN))
    nexus.clock.advance(3600)
    await look(nexus)
    assert (await row_of(nexus)).stage is Stage.COMPLETED
    assert await nexus.types(RUN) == ["JobCreated", "RunStalled", "RunCompleted"]


# An end that no supervisor has seen


@pytest.mark.parametrize(
    ("exit_code", "category"), [(0, "NoReport"), (3, "RetriesExhausted")], ids=["complete", "failed"]
)
async def test_an_end_that_was_missed_is_judged_after_the_grace(nexus, exit_code, category):
    await nexus.placed()
    nexus.clock.advance(GRACE)
    nexus.cluster.end(RUN, exit_code, log="the last words")
    await look(nexus)
    assert not (await row_of(nexus)).ended
    nexus.clock.advance(GRACE)
    await look(nexus)
    row = await row_of(nexus)
    assert (row.stage, row.diagnosis.category) == (Stage.FAILED, category)
    [end] = [event for event in await nexus.said(RUNS, RUN) if isinstance(event, RunFailed)]
    assert end.evidence.log_tail == "the last words"


@pytest.mark.parametrize("blindness", ["away", "another cluster", "not configured"])
async def test_blind_is_not_dead_and_holds_up_nobody(nexus, blindness):
    """One cluster cannot be heard. Queued runs end at their deadlines all the same, parked ones come again once."""
    await nexus.placed(2)
    nexus.cluster.lose(run_id(2))
    far = nexus.clusters[ELSEWHERE] = SimulatedCluster(nexus.clock, ELSEWHERE)
    near, nexus.cluster = nexus.cluster, far
    await nexus.placed(3, cluster=ELSEWHERE)
    far.lose(run_id(3))
    nexus.cluster = near
    await nexus.queued(4, cluster=ELSEWHERE, placement_deadline=after(DEADLINE))
    await parked(nexus)
    if blindness == "away":
        far.away = True
    elif blindness == "another cluster":
        far.uid = "another"
    else:
        del nexus.clusters[ELSEWHERE]
    nexus.clock.advance(DEADLINE)
    for _ in range(3):
        await look(nexus)
    assert await nexus.types(run_id(3)) == ["JobCreated"]
    assert (await nexus.store.get(run_id(2))).diagnosis.category == "JobVanished"
    assert (await nexus.store.get(run_id(4))).stage is Stage.SCHEDULING_FAILED
    assert [event.request_id for event in await nexus.said(REQUESTS)].count(RUN) == 2


async def blind(nexus: Installation, deadline: int | None = DEADLINE) -> None:
    """A run with that deadline of its own is placed, its cluster is heard once more, and then not again."""
    runtime = {"deadlineSeconds": deadline} if deadline else {}
    await nexus.placed(spec=algorithm(runtimeEnvironment=runtime))
    await look(nexus)
    nexus.cluster.away = True


@pytest.mark.parametrize(("deadline", "beyond"), [(DEADLINE, DEADLINE), (None, 0)], ids=["deadline", "none"])
async def test_a_run_is_given_up_when_its_cluster_is_not_heard_for_long_after_its_deadline(
    nexus, deadline, beyond
):
    await blind(nexus, deadline)
    nexus.clock.advance(beyond + MAX_BLIND - 10)
    await look(nexus)
    assert await nexus.types(RUN) == ["JobCreated"]
    nexus.clock.advance(20)
    await look(nexus)
    row = await nexus.store.get(RUN)
    assert (row.stage, row.diagnosis.category) == (Stage.FAILED, "ClusterNotHeard")
    assert f"{nexus.cluster.name} ({nexus.cluster.uid})" in row.diagnosis.details
    await look(nexus)
    assert await nexus.types(RUN) == ["JobCreated", "RunFailed"]


async def test_a_moment_of_blindness_ends_no_run_that_is_long_over(nexus):
    """Its cluster was heard until now; that it did not end the Job yet is for its diagnosis to say."""
    await nexus.placed(spec=algorithm(runtimeEnvironment={"deadlineSeconds": 1}))
    nexus.clock.advance(10 * MAX_BLIND)
    await look(nexus)
    nexus.cluster.away = True
    nexus.clock.advance(MAX_BLIND - 10)
    await look(nexus)
    assert await nexus.types(RUN) == ["JobCreated"]


async def test_a_cluster_that_comes_back_has_lost_nothing(nexus):
    await blind(nexus)
    nexus.clock.advance(DEADLINE + MAX_BLIND - 10)
    await look(nexus)
    nexus.cluster.away = False
    await look(nexus)
    nexus.cluster.away = True
    nexus.clock.advance(MAX_BLIND - 10)
    await look(nexus)
    assert await nexus.types(RUN) == ["JobCreated"]


async def test_another_cluster_that_answers_under_the_name_is_not_the_one_that_is_missed(nexus):
    await blind(nexus)
    nexus.cluster.away, nexus.cluster.uid = False, "another"
    nexus.clock.advance(DEADLINE + MAX_BLIND)
    await look(nexus)
    assert (await nexus.store.get(RUN)).diagnosis.category == "ClusterNotHeard"


async def test_when_a_cluster_was_last_heard_is_known_to_everybody(nexus):
    await look(nexus)
    [first] = await nexus.store.contacts()
    assert (first.cluster, first.identity) == (nexus.cluster.name, nexus.cluster.uid)
    nexus.clock.advance(10)
    await look(nexus)
    [second] = await nexus.store.contacts()
    assert second.at - first.at >= timedelta(seconds=10)
    nexus.cluster.away = True
    nexus.clock.advance(10)
    await look(nexus)
    assert await nexus.store.contacts() == [second]


async def test_what_ran_on_a_removed_cluster_ends_and_needs_no_collection(nexus):
    """Queued runs have their deadlines all the same."""
    await nexus.placed()
    await nexus.queued(2, placement_deadline=after(DEADLINE))
    del nexus.clusters[nexus.cluster.name]
    nexus.clock.advance(GRACE)
    await nexus.caught_up()
    await nexus.reconciler(removed=[nexus.cluster.name]).reconcile()
    row = await nexus.reaches(RUN, lambda run: run.ended)
    assert (row.stage, row.diagnosis.category) == (Stage.FAILED, "ClusterRemoved")
    assert not (await nexus.store.get(run_id(2))).ended
    collector = nexus.collector(removed=[nexus.cluster.name])
    nexus.spawn(collector.sweep(timedelta(milliseconds=10)))
    await nexus.reaches(RUN, lambda run: run.collected_at)
    nexus.clock.advance(DEADLINE)
    await look(nexus)
    assert (await nexus.store.get(run_id(2))).stage is Stage.SCHEDULING_FAILED


async def test_a_queued_run_says_since_when_its_cluster_was_away(nexus):
    await look(nexus)
    [heard] = await nexus.store.contacts()
    await nexus.queued(1, placement_deadline=after(DEADLINE))
    nexus.cluster.away = True
    nexus.clock.advance(DEADLINE)
    await look(nexus)
    row = await nexus.store.get(RUN)
    assert row.stage is Stage.SCHEDULING_FAILED
    assert f"has not been heard since {row.request.at:%Y-%m-%d %H:%M:%S}Z" in row.diagnosis.cause
    assert heard.at < row.request.at


async def test_a_queued_run_of_a_cluster_that_another_supervisor_hears_is_left_to_that_one(nexus):
    """It can ask for a Job that was made and not heard of; once it is silent as well, the run ends all the same."""
    await look(nexus)
    await nexus.queued(1, placement_deadline=nexus.clock())
    del nexus.clusters[nexus.cluster.name]
    await look(nexus)
    assert not (await row_of(nexus)).ended
    nexus.clock.advance(30)
    await look(nexus)
    assert (await row_of(nexus)).stage is Stage.SCHEDULING_FAILED


async def test_it_looks_again_and_again(nexus):
    await nexus.placed()
    nexus.spawn(nexus.reconciler().run(timedelta(milliseconds=10)))
    nexus.cluster.away = True
    nexus.cluster.lose(RUN)
    nexus.clock.advance(GRACE)
    await nexus.caught_up()
    assert not (await nexus.store.get(RUN)).ended
    nexus.cluster.away = False
    await nexus.reaches(RUN, lambda run: run.ended)
