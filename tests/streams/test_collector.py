"""The collector: evidence first, then the very Job of an ended run, and what its policy says of the children."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nexus.domain.events import (
    Evidence,
    EvidenceRecorded,
    JobCollected,
    JobCreated,
    Parent,
    RunCancelled,
    RunFailed,
)
from nexus.domain.run import Stage
from nexus.domain.topics import RUNS
from tests.streams.conftest import ELSEWHERE, MATERIALIZER, Installation, run_id
from tests.support.factories import ALGORITHM, CLUSTER, cancelled, completed, diagnosis, fact
from tests.support.simulated_cluster import SimulatedCluster

RUN = run_id(1)
CHILD = run_id(2)
SOON = timedelta(milliseconds=20)


@pytest.fixture
async def nexus(installation):
    """With a ledger, and a collector that follows."""
    installation.start_ledger()
    collector = installation.collector()
    installation.drive(collector, RUNS, consumers="collector")
    installation.spawn(collector.sweep(SOON))
    return installation


def reported(**fields):
    return fact(RunFailed, 3, request_id=RUN, **{"diagnosis": diagnosis("bad input")} | fields)


async def collected(nexus: Installation, run: str = RUN, *, passing: float = 0.01) -> JobCollected:
    """What was first said of the collection of a run's Job."""
    await nexus.reaches(run, lambda row: row.collected_at, passing=passing)
    return next(each for each in await nexus.said(RUNS, run) if isinstance(each, JobCollected))


async def stays(nexus: Installation, run: str = RUN) -> None:
    """Another run that ends now is collected, and this one is not."""
    await nexus.consumed("collector", RUNS)
    other = await nexus.placed(99)
    await nexus.say(cancelled(request_id=other.metadata.name))
    await collected(nexus, other.metadata.name)
    assert run in nexus.cluster.jobs
    assert (await nexus.store.get(run)).collected_at is None


async def test_a_job_goes_when_its_run_has_ended(nexus):
    job = await nexus.placed()
    nexus.cluster.end(RUN, 0)
    await nexus.say(completed(request_id=RUN))
    said = await collected(nexus)
    assert (said.job_uid, said.by) == (job.metadata.uid, "nexus")
    assert nexus.cluster.deleted == [(RUN, job.metadata.uid, "Background")]
    assert nexus.cluster.jobs == {}


async def test_the_job_of_a_run_that_goes_on_stays(nexus):
    await nexus.placed()
    await stays(nexus)


# Evidence


async def test_evidence_is_in_the_log_before_the_job_goes(nexus):
    class Remembering(SimulatedCluster):
        async def delete(self, name, uid, policy):
            self.said = await nexus.types(name)
            return await super().delete(name, uid, policy)

    nexus.cluster = nexus.clusters[CLUSTER] = Remembering(nexus.clock)
    await nexus.placed()
    nexus.cluster.end(RUN, 5, log="what it met\n")
    await nexus.say(reported())
    await collected(nexus)
    assert "EvidenceRecorded" in nexus.cluster.said
    [kept, *_] = [each for each in await nexus.said(RUNS, RUN) if isinstance(each, EvidenceRecorded)]
    assert kept.evidence.log_tail == "what it met\n"
    assert [pod.terminated.exit_code for pod in kept.evidence.pods] == [5]


async def test_evidence_that_came_with_the_failure_is_not_gathered_twice(nexus):
    nexus.start_watcher()
    nexus.start_supervisor()
    await nexus.placed()
    nexus.cluster.end(RUN, 5)
    await collected(nexus)
    assert "EvidenceRecorded" not in await nexus.types(RUN)


async def test_evidence_that_could_not_be_had_then_is_gathered_now(nexus):
    """The cluster was away for a moment when the failure was judged."""
    await nexus.placed()
    nexus.cluster.end(RUN, 5, log="what it met\n")
    nothing = Evidence(note="no events and no log, because standalone cannot be reached")
    await nexus.say(fact(RunFailed, request_id=RUN, diagnosis=diagnosis(), evidence=nothing))
    await collected(nexus)
    # The log may have it twice, of the fact and of the sweep that find the Job at once: the history keeps it once (law 4).
    history = await nexus.store.history(RUN)
    [kept] = [entry.event for entry in history if isinstance(entry.event, EvidenceRecorded)]
    assert kept.evidence.log_tail == "what it met\n"


async def test_a_cancelled_run_keeps_what_its_job_still_showed(nexus):
    await nexus.placed()
    await nexus.say(cancelled(request_id=RUN))
    await collected(nexus)
    kept = next(each for each in await nexus.said(RUNS, RUN) if isinstance(each, EvidenceRecorded))
    assert kept.evidence.events


# Whose Job


async def test_somebody_elses_job_is_not_touched(nexus):
    await nexus.placed()
    nexus.cluster.lose(RUN)
    await nexus.cluster.create(MATERIALIZER.job(nexus.request(1), "http://payload"))
    await nexus.say(cancelled(request_id=RUN))
    assert (await collected(nexus)).by == "other"
    assert RUN in nexus.cluster.jobs
    assert nexus.cluster.deleted == []


async def test_a_job_that_went_by_itself(nexus):
    await nexus.placed()
    nexus.cluster.lose(RUN)
    await nexus.say(completed(request_id=RUN))
    assert (await collected(nexus)).by == "other"


async def test_a_job_that_turns_up_for_an_ended_run(nexus):
    """Cancelled while its Job was being created; the creation is said later."""
    job = await nexus.placed(said=False)
    await nexus.say(cancelled(request_id=RUN))
    await nexus.reaches(RUN, lambda run: run.ended)
    await nexus.consumed("collector", RUNS)
    assert RUN in nexus.cluster.jobs
    await nexus.say(nexus.created(job))
    assert (await collected(nexus)).by == "nexus"
    assert (await nexus.store.get(RUN)).stage is Stage.CANCELLED
    assert nexus.cluster.deleted == [(RUN, job.metadata.uid, "Background")]


async def test_a_job_of_an_ended_run_whose_creation_nobody_lived_to_say(nexus):
    await nexus.placed(said=False)
    await nexus.say(cancelled(request_id=RUN))
    await nexus.reaches(RUN, lambda run: run.ended)
    nexus.start_watcher()
    nexus.start_supervisor()
    assert (await collected(nexus)).by == "nexus"
    assert any(isinstance(each, JobCreated) for each in await nexus.said(RUNS, RUN))


@pytest.mark.parametrize("blindness", ["away", "another cluster", "not configured"])
async def test_a_blind_cluster_holds_up_the_sweep_of_no_other(nexus, blindness):
    """Its Jobs are waited for; those of other clusters are not kept waiting by them."""
    far = SimulatedCluster(nexus.clock, ELSEWHERE)
    near, nexus.cluster = nexus.cluster, far
    await nexus.placed(1, cluster=ELSEWHERE)
    nexus.cluster, identity = near, far.uid
    if blindness == "away":
        far.away = True
    elif blindness == "another cluster":
        far.uid = "another"
    if blindness != "not configured":
        nexus.clusters[ELSEWHERE] = far
    await nexus.say(cancelled(request_id=RUN))
    await nexus.reaches(RUN, lambda run: run.ended)
    await nexus.placed(2)
    await nexus.say(cancelled(request_id=CHILD))
    await collected(nexus, CHILD, passing=0.1)
    await nexus.consumed("collector", RUNS)
    assert (await nexus.store.get(RUN)).collected_at is None
    far.uid, far.away = identity, False
    nexus.clusters[ELSEWHERE] = far
    assert (await collected(nexus, passing=0.1)).by == "nexus"


# Linger


async def test_who_has_reported_may_take_a_while_to_exit(nexus):
    await nexus.placed()
    await nexus.say(completed(request_id=RUN, at=nexus.clock()))
    await stays(nexus)
    nexus.clock.advance(60)
    await collected(nexus)


async def test_who_has_reported_and_exited_is_collected_at_once(nexus):
    await nexus.placed()
    await nexus.say(completed(request_id=RUN, at=nexus.clock()))
    await stays(nexus)
    nexus.cluster.end(RUN, 0)
    await collected(nexus, passing=0)


async def test_a_cancelled_run_does_not_linger(nexus):
    await nexus.placed()
    await nexus.say(cancelled(request_id=RUN, at=nexus.clock()))
    await collected(nexus, passing=0)


# Children

PARENT = Parent(request_id=RUN, algorithm_name=ALGORITHM)


async def family(nexus: Installation, **fields) -> None:
    """A parent and its child, whose Job it owns."""
    parent = await nexus.placed(1)
    await nexus.placed(2, parent=PARENT, owner=parent, **fields)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_a_cancel_takes_the_children_along(nexus, policy):
    await family(nexus)
    grandchild = Parent(request_id=CHILD, algorithm_name=ALGORITHM)
    await nexus.queued(3, parent=grandchild)
    await nexus.say(cancelled(request_id=RUN, policy=policy))
    for run in (RUN, CHILD, run_id(3)):
        row = await nexus.reaches(run, lambda row: row.ended)
        assert (row.stage, row.cancellation_policy) == (Stage.CANCELLED, policy)
    await collected(nexus, passing=0.1)
    await collected(nexus, CHILD, passing=0.1)
    assert nexus.cluster.jobs == {}
    assert nexus.cluster.deleted[0][2] == policy


async def test_a_cancel_of_a_parent_that_never_had_a_job_takes_its_children(nexus):
    await nexus.queued(1)
    await nexus.queued(2, parent=PARENT)
    await nexus.say(cancelled(request_id=RUN))
    row = await nexus.reaches(CHILD, lambda row: row.ended)
    assert row.stage is Stage.CANCELLED
    assert RUN in row.diagnosis.details


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_every_generation_ends_in_the_words_of_the_cancel(nexus, policy):
    await family(nexus)
    await nexus.queued(3, parent=Parent(request_id=CHILD, algorithm_name=ALGORITHM))
    await nexus.say(cancelled(request_id=RUN, policy=policy, reason="wrong input", initiator="me"))
    for run, parent in ((CHILD, RUN), (run_id(3), CHILD)):
        await nexus.reaches(run, lambda row: row.ended)
        said = next(each for each in await nexus.said(RUNS, run) if isinstance(each, RunCancelled))
        assert (said.reason, said.initiator, said.policy, said.with_parent) == (
            "wrong input",
            "me",
            policy,
            parent,
        )


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_a_childs_evidence_is_kept_before_its_parents_job_takes_its_own_along(nexus, policy):
    await family(nexus)
    await nexus.say(cancelled(request_id=RUN, policy=policy))
    await collected(nexus, passing=0.1)
    assert [name for name, _, _ in nexus.cluster.deleted] == [CHILD, RUN]
    [kept, *_] = [each for each in await nexus.said(RUNS, CHILD) if isinstance(each, EvidenceRecorded)]
    assert kept.evidence.pods


async def test_a_tree_across_clusters_is_cancelled_as_one(nexus):
    """The child is on a cluster of its own, and the grandchild where its grandparent is: no Job there owns another."""
    far = nexus.clusters[ELSEWHERE] = SimulatedCluster(nexus.clock, ELSEWHERE)
    near = nexus.cluster
    await nexus.placed(1)
    nexus.cluster = far
    await nexus.placed(2, parent=PARENT, cluster=ELSEWHERE)
    nexus.cluster = near
    await nexus.placed(3, parent=Parent(request_id=CHILD, algorithm_name=ALGORITHM))
    await nexus.say(cancelled(request_id=RUN))
    for run in (RUN, CHILD, run_id(3)):
        await collected(nexus, run)
        assert (await nexus.store.get(run)).stage is Stage.CANCELLED
    assert (near.jobs, far.jobs) == ({}, {})


async def test_a_child_on_a_cluster_that_is_away_ends_all_the_same_and_holds_up_nobody(nexus):
    far = nexus.clusters[ELSEWHERE] = SimulatedCluster(nexus.clock, ELSEWHERE)
    near = nexus.cluster
    await nexus.placed(1)
    nexus.cluster = far
    await nexus.placed(2, parent=PARENT, cluster=ELSEWHERE)
    nexus.cluster = near
    far.away = True
    await nexus.say(cancelled(request_id=RUN))
    await nexus.reaches(CHILD, lambda row: row.ended)
    await collected(nexus)
    far.away = False
    await collected(nexus, CHILD)
    assert far.jobs == {}


async def test_orphans_go_on(nexus):
    await family(nexus)
    await nexus.say(cancelled(request_id=RUN, policy="Orphan"))
    await collected(nexus)
    assert nexus.cluster.deleted[0][2] == "Orphan"
    assert list(nexus.cluster.jobs) == [CHILD]
    assert nexus.cluster.jobs[CHILD].metadata.owner_references == ()
    assert not (await nexus.store.get(CHILD)).ended


@pytest.mark.parametrize("end", [completed(request_id=RUN), reported()], ids=["completed", "failed"])
async def test_a_parents_job_stays_while_a_child_goes_on(nexus, end):
    """The child's Job would go with it."""
    await family(nexus)
    nexus.cluster.end(RUN, 0)
    await nexus.say(end)
    await nexus.reaches(RUN, lambda run: run.ended)
    await stays(nexus)
    await nexus.say(completed(request_id=CHILD))
    nexus.cluster.end(CHILD, 0)
    await collected(nexus, passing=0.1)
    await collected(nexus, CHILD, passing=0.1)
    assert nexus.cluster.jobs == {}


async def test_a_failed_childs_evidence_is_kept_before_its_parents_job_goes(nexus):
    """The child has reported and may linger; the parent is done."""
    await family(nexus)
    nexus.cluster.end(RUN, 0)
    said = nexus.clock()
    await nexus.say(fact(RunFailed, request_id=CHILD, at=said, diagnosis=diagnosis("bad input")))
    await nexus.reaches(CHILD, lambda run: run.ended)
    await nexus.say(completed(request_id=RUN, at=said))
    await stays(nexus)
    nexus.cluster.end(CHILD, 1)
    await collected(nexus)
    assert "EvidenceRecorded" in await nexus.types(CHILD)


async def test_a_crash_after_the_deletion_says_it_at_the_next_start(installation):
    """The Job is gone and nobody said so: the sweep of the next process does."""
    installation.start_ledger()
    job = await installation.placed()
    await installation.say(cancelled(request_id=RUN))
    await installation.reaches(RUN, lambda run: run.ended)
    await installation.cluster.delete(RUN, job.metadata.uid, "Background")
    installation.spawn(installation.collector().sweep(SOON))
    assert (await collected(installation, passing=0.1)).job_uid == job.metadata.uid
