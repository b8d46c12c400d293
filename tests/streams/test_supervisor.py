"""The supervisor: what a cluster shows becomes facts, at most one of each, and silence is no proof of anything."""

from __future__ import annotations

import asyncio

import pytest

from nexus.domain.events import EvidenceRecorded, RunFailed, RunObserved
from nexus.domain.run import Stage
from nexus.domain.topics import OBSERVATIONS, RUNS
from streams.supervisor.supervisor import Supervisor
from tests.streams.conftest import MATERIALIZER, Installation, run_id
from tests.support.factories import cancelled, completed, job_view, run_observed

RUN = run_id(1)
ENDS = {"RunCompleted", "RunFailed", "RunDeadlineExceeded", "RunSchedulingFailed", "RunCancelled"}


@pytest.fixture
async def nexus(installation):
    """With a ledger, a watcher and a supervisor."""
    installation.start_ledger()
    installation.start_watcher()
    installation.start_supervisor()
    return installation


async def judged(nexus: Installation) -> None:
    """All observations there are were judged, and what was said of them is folded."""
    await nexus.consumed("supervisor", OBSERVATIONS)
    await nexus.caught_up()


async def observed(nexus: Installation, condition) -> None:
    """An observation like this is on its topic."""

    async def there() -> bool:
        return any(condition(seen) for seen in await nexus.said(OBSERVATIONS))

    await nexus.until(there)


async def ends_of(nexus: Installation, run: str = RUN) -> list[str]:
    return [name for name in await nexus.types(run) if name in ENDS]


# On the way


async def test_a_start_is_said_once(nexus):
    nexus.cluster.holds_starts = True
    await nexus.placed()
    await observed(nexus, lambda seen: seen.pods)
    await judged(nexus)
    assert await nexus.history(RUN) == ["JobCreated"]
    nexus.cluster.start(RUN)
    row = await nexus.reaches(RUN, lambda run: run.started_at)
    assert row.stage is Stage.RUNNING
    nexus.cluster.disconnect()  # the watch begins anew
    nexus.start_watcher()  # and a second watcher tells everything once more
    await observed(nexus, lambda seen: seen.pods and seen.pods[0].started_at)
    await judged(nexus)
    assert await nexus.history(RUN) == ["JobCreated", "RunStarted"]


async def test_a_job_that_nobody_lived_to_report(nexus):
    job = await nexus.placed(said=False)
    row = await nexus.reaches(RUN, lambda run: run.started_at)
    assert (row.stage, row.job_uid, row.cluster_id) == (Stage.RUNNING, job.metadata.uid, nexus.cluster.uid)


async def test_a_job_under_the_name_of_a_run_is_not_its_job(nexus):
    """Only the annotations of its request make it so (law 5)."""
    run = await nexus.queued()
    other = MATERIALIZER.job(nexus.request(2), "http://payload")
    other["metadata"]["name"] = run.id
    await nexus.cluster.create(other)
    nexus.cluster.end(run.id, 0)
    await observed(nexus, lambda seen: seen.job.ended)
    await judged(nexus)
    assert await nexus.history(run.id) == []


# Ends


async def test_exit_without_a_report(nexus):
    await nexus.placed()
    nexus.cluster.end(RUN, 0, log="done\n")
    row = await nexus.reaches(RUN, lambda run: run.ended)
    assert (row.stage, row.diagnosis.category) == (Stage.FAILED, "NoReport")


@pytest.mark.parametrize("seed", range(5))
async def test_what_was_said_before_the_exit_wins(installation, seed):
    """The ledger is behind: the supervisor sees the exit first, and waits for what was said before it."""
    ledger = installation.start_ledger()
    await installation.placed()
    await installation.reaches(RUN, lambda run: run.job_uid)
    await installation.stop(ledger)
    await installation.say(completed(request_id=RUN))
    installation.cluster.end(RUN, 0)
    installation.start_watcher()
    installation.start_supervisor()
    await observed(installation, lambda seen: seen.job.ended)
    for _ in range(seed * 10):
        await asyncio.sleep(0)
    installation.start_ledger()
    row = await installation.reaches(RUN, lambda run: run.ended)
    await judged(installation)
    assert row.stage is Stage.COMPLETED
    assert await ends_of(installation) == ["RunCompleted"]


async def test_a_cancel_before_the_deletion_wins(nexus):
    await nexus.placed()
    await nexus.reaches(RUN, lambda run: run.started_at)
    await nexus.say(cancelled(request_id=RUN))
    nexus.cluster.lose(RUN)
    await observed(nexus, lambda seen: seen.gone)
    await judged(nexus)
    assert await ends_of(nexus) == ["RunCancelled"]


async def test_a_failure_brings_its_evidence(nexus):
    await nexus.placed()
    nexus.cluster.end(RUN, 3, log="Traceback: no such column\n")
    row = await nexus.reaches(RUN, lambda run: run.ended)
    assert (row.stage, row.diagnosis.category) == (Stage.FAILED, "RetriesExhausted")
    assert "exit code 3" in row.diagnosis.details
    [end] = [fact for fact in await nexus.said(RUNS, RUN) if isinstance(fact, RunFailed)]
    assert end.evidence.log_tail == "Traceback: no such column\n"
    assert [pod.terminated.exit_code for pod in end.evidence.pods] == [3]
    assert any(event.startswith("BackoffLimitExceeded") for event in end.evidence.events)


async def test_what_a_pod_wrote_is_kept_before_its_deadline_takes_it_away(nexus):
    await nexus.placed()
    await nexus.reaches(RUN, lambda run: run.started_at)
    nexus.cluster.stop(RUN, log="7 of 10 done\n")
    await nexus.has_said(RUN, "EvidenceRecorded")
    nexus.cluster.remove_pods(RUN)
    nexus.cluster.expire(RUN)
    row = await nexus.reaches(RUN, lambda run: run.ended)
    assert row.diagnosis.category == "DeadlineExceeded"
    [kept] = [fact for fact in await nexus.said(RUNS, RUN) if isinstance(fact, EvidenceRecorded)]
    assert kept.evidence.log_tail == "7 of 10 done\n"


async def test_what_a_pod_wrote_is_kept_once(nexus):
    await nexus.placed()
    await nexus.reaches(RUN, lambda run: run.started_at)
    nexus.cluster.stop(RUN, log="7 of 10 done\n")
    await nexus.has_said(RUN, "EvidenceRecorded")
    await nexus.caught_up()
    before = len(await nexus.said(OBSERVATIONS))
    for _ in range(2):
        nexus.start_watcher()
    await nexus.until(lambda: _count(nexus, before + 2))
    await judged(nexus)
    assert (await nexus.types(RUN)).count("EvidenceRecorded") == 1


async def test_a_job_that_tries_again_has_not_failed(nexus):
    await nexus.placed(retries=2)
    nexus.cluster.end(RUN, 1)
    await observed(nexus, lambda seen: len(seen.pods) == 2)
    await judged(nexus)
    assert await nexus.history(RUN) == ["JobCreated", "RunStarted"]
    nexus.cluster.end(RUN, 1)
    nexus.cluster.end(RUN, 1)
    row = await nexus.reaches(RUN, lambda run: run.ended)
    assert row.diagnosis.category == "RetriesExhausted"


@pytest.mark.parametrize(
    ("how", "stage", "category"),
    [
        (lambda cluster: cluster.expire(RUN), Stage.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (lambda cluster: cluster.end(RUN, 1), Stage.FAILED, "RetriesExhausted"),
        (lambda cluster: cluster.end(RUN, 137, reason="OOMKilled"), Stage.FAILED, "OutOfMemory"),
    ],
    ids=["deadline", "back-off limit", "memory"],
)
async def test_a_deadline_is_not_a_back_off_limit(nexus, how, stage, category):
    await nexus.placed()
    await nexus.reaches(RUN, lambda run: run.started_at)
    how(nexus.cluster)
    row = await nexus.reaches(RUN, lambda run: run.ended)
    assert (row.stage, row.diagnosis.category) == (stage, category)


async def test_an_image_that_cannot_be_pulled_is_remembered_at_the_deadline(nexus):
    nexus.cluster.holds_starts = True
    await nexus.placed()
    nexus.cluster.wait(RUN, "ImagePullBackOff", "no such image")
    nexus.cluster.expire(RUN)
    row = await nexus.reaches(RUN, lambda run: run.ended)
    assert (row.stage, row.diagnosis.category) == (Stage.SCHEDULING_FAILED, "ImagePull")
    assert "no such image" in row.diagnosis.details


async def test_many_observations_of_an_end_are_one_fact(nexus):
    await nexus.placed()
    nexus.cluster.end(RUN, 1)
    await nexus.reaches(RUN, lambda run: run.ended)
    before = await nexus.history(RUN)
    for _ in range(3):
        nexus.start_watcher()
    await nexus.until(lambda: _count(nexus, 4))
    nexus.cluster.lose(RUN)
    await observed(nexus, lambda seen: seen.gone)
    await judged(nexus)
    assert await nexus.history(RUN) == before
    assert len(await ends_of(nexus)) == 1


async def test_an_end_stands_although_a_watcher_that_was_replaced_is_heard_later(installation):
    installation.start_ledger()
    running = await installation.placed()
    installation.cluster.end(RUN, 1)
    ended = installation.cluster.jobs[RUN]
    seen = [
        run_observed(request_id=RUN, job=job, cluster_id=installation.cluster.uid) for job in (ended, running)
    ]
    await installation.say(*seen)
    installation.start_supervisor()
    row = await installation.reaches(RUN, lambda run: run.ended)
    assert row.stage is Stage.FAILED


async def test_what_became_of_an_earlier_job_says_nothing_of_the_one_that_is_known_now(
    installation, monkeypatch
):
    """The first was deleted before anybody said that it was there, and its observation is judged when the second is."""
    ledger = installation.start_ledger()
    first = await installation.placed(said=False)
    await installation.caught_up()
    await installation.stop(ledger)
    installation.cluster.lose(RUN)
    gone = run_observed(request_id=RUN, job=first, gone=True, cluster_id=installation.cluster.uid)
    await installation.say(gone)
    get_many, read = installation.store.get_many, []

    async def seen(request_ids):
        rows = await get_many(request_ids)
        read.extend(rows.values())
        return rows

    monkeypatch.setattr(installation.store, "get_many", seen)
    installation.start_supervisor()
    [row] = await installation.until(lambda: read)
    second = (await installation.cluster.create(MATERIALIZER.job(row.request, "http://payload"))).job
    await installation.say(installation.created(second))
    installation.start_ledger()
    await judged(installation)
    row = await installation.store.get(RUN)
    assert (row.stage, row.job_uid) == (Stage.RUNNING, second.metadata.uid)


async def _count(nexus: Installation, least: int) -> bool:
    return len(await nexus.said(OBSERVATIONS)) >= least


# Gone


async def test_a_job_that_was_deleted(nexus):
    await nexus.placed()
    await nexus.reaches(RUN, lambda run: run.started_at)
    nexus.cluster.lose(RUN)
    row = await nexus.reaches(RUN, lambda run: run.ended)
    assert (row.stage, row.diagnosis.category) == (Stage.FAILED, "JobVanished")
    [end] = [fact for fact in await nexus.said(RUNS, RUN) if isinstance(fact, RunFailed)]
    assert end.evidence.note


async def says_gone(nexus: Installation, job, **fields) -> RunObserved:
    """An observation that the Job went, of a watcher that may be wrong."""
    gone = run_observed(
        request_id=RUN, job=job, gone=True, at=nexus.clock(), **{"cluster_id": nexus.cluster.uid} | fields
    )
    await nexus.say(gone)
    return gone


async def test_gone_is_asked_again(nexus):
    """A watcher that had a hole in its view says gone of a Job that is there."""
    job = await nexus.placed()
    await nexus.reaches(RUN, lambda run: run.started_at)
    await says_gone(nexus, job)
    await judged(nexus)
    assert await ends_of(nexus) == []


async def test_another_job_under_its_name_is_not_the_one_that_went(installation):
    installation.start_ledger()
    job = await installation.placed()
    await installation.reaches(RUN, lambda run: run.job_uid)
    installation.cluster.lose(RUN)
    await installation.placed(said=False)
    await says_gone(installation, job)
    installation.start_supervisor()
    row = await installation.reaches(RUN, lambda run: run.ended)
    assert row.diagnosis.category == "JobVanished"


@pytest.mark.parametrize("blindness", ["away", "another cluster", "not configured"])
async def test_a_blind_cluster_decides_nothing_and_holds_up_nobody(installation, blindness):
    installation.start_ledger()
    jobs = [await installation.placed(), await installation.placed(2)]
    for job in jobs:
        await installation.reaches(job.metadata.name, lambda row: row.job_uid)
    pods = await installation.cluster.pods(run_id(2))
    started = run_observed(
        *pods, request_id=run_id(2), job=jobs[1], cluster_id=installation.cluster.uid, at=installation.clock()
    )
    await installation.say(started)
    installation.cluster.lose(RUN)
    await says_gone(installation, jobs[0])
    if blindness == "away":
        installation.cluster.away = True
    elif blindness == "another cluster":
        installation.cluster.uid = "another"
    else:
        installation.clusters.clear()
    installation.start_supervisor()
    await judged(installation)
    assert await ends_of(installation) == []
    assert await installation.history(run_id(2)) == ["JobCreated", "RunStarted"]


async def test_what_another_cluster_shows_under_the_same_name_is_not_the_run(nexus):
    job = await nexus.placed()
    await nexus.reaches(RUN, lambda run: run.started_at)
    await says_gone(nexus, job, cluster_id="another")
    failed = job_view(
        RUN,
        uid=job.metadata.uid,
        annotations=job.metadata.annotations,
        status={"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]},
    )
    await nexus.say(run_observed(request_id=RUN, job=failed, at=nexus.clock(), cluster_id="another"))
    await judged(nexus)
    assert await ends_of(nexus) == []


@pytest.mark.parametrize("served", [[], ["standalone"], ["another"]])
async def test_a_supervisor_judges_what_the_clusters_that_it_serves_show(installation, served):
    """One beside the Jobs of each cluster hears the observations of all."""
    installation.start_ledger()
    installation.start_watcher()
    supervisor = Supervisor(installation.context, installation.clusters, served)
    installation.drive(supervisor, OBSERVATIONS, consumers="supervisor")
    assert installation.cluster.name == "standalone"
    await installation.placed()
    await observed(installation, lambda seen: seen.pods and seen.pods[0].started_at)
    await judged(installation)
    started = (await installation.store.get(RUN)).started_at is not None
    assert started == (served != ["another"])
