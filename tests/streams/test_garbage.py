"""The sweeper: what is ours and nobody needs goes, is told of before and after, and nothing else is touched."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest

from nexus.domain.errors import Unavailable
from nexus.domain.events import JobCreated, OrphanCollected, PayloadCollected
from nexus.domain.job import INSTALLATION, REQUEST_ID, Materializer
from nexus.domain.payload import payload_key
from nexus.domain.run import Stage
from nexus.domain.topics import DEAD_LETTERS, RUNS
from nexus.embedded.payload_store import FolderPayloadStore
from tests.streams.conftest import ELSEWHERE, KEEPING, MATERIALIZER, Installation, run_id
from tests.support.factories import ALGORITHM, cancelled, completed
from tests.support.simulated_cluster import SimulatedCluster

RUN = run_id(1)
GRACE = KEEPING.job_grace.total_seconds()
RETENTION = KEEPING.payload_retention.total_seconds()
PAYLOAD_GRACE = KEEPING.payload_grace.total_seconds()


@pytest.fixture
async def nexus(installation):
    """With a ledger that follows. The sweeper sweeps when a test lets it."""
    installation.start_ledger()
    return installation


@pytest.fixture
def payloads(tmp_path):
    return FolderPayloadStore(tmp_path / "payloads")


async def sweep(nexus: Installation, payloads: FolderPayloadStore) -> None:
    """Once, after which all that was said is folded."""
    await nexus.caught_up()
    await nexus.sweeper(payloads).sweep()
    await nexus.caught_up()


async def orphan(nexus: Installation, **annotations: str) -> str:
    """The uid of a Job that no run has."""
    manifest = MATERIALIZER.job(nexus.request(1), "http://payload")
    manifest["metadata"]["annotations"] = manifest["metadata"]["annotations"] | annotations
    return (await nexus.cluster.create(manifest)).job.metadata.uid


# Jobs


async def test_a_job_without_a_run_goes_after_a_grace_and_is_told_of_before_and_after(nexus, payloads):
    uid = await orphan(nexus)
    nexus.clock.advance(GRACE - 10)
    await sweep(nexus, payloads)
    assert RUN in nexus.cluster.jobs
    nexus.clock.advance(20)
    await sweep(nexus, payloads)
    assert nexus.cluster.deleted == [(RUN, uid, "Background")]
    before, after = await nexus.said(RUNS)
    assert (before.job_uid, before.confirmed, before.because) == (uid, False, "there is no run of its name")
    assert before.evidence.pods
    assert (after.job_uid, after.confirmed, after.cluster_id) == (uid, True, nexus.cluster.uid)
    await sweep(nexus, payloads)
    assert len(await nexus.said(RUNS)) == 2
    assert await nexus.said(DEAD_LETTERS) == []
    assert await nexus.store.get(RUN) is None


@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param({INSTALLATION: ""}, id="nobody's"),
        pytest.param({INSTALLATION: "another"}, id="another installation's"),
        pytest.param({REQUEST_ID: run_id(2)}, id="of another name than its run"),
        pytest.param({REQUEST_ID: ""}, id="of no run"),
    ],
)
@pytest.mark.parametrize("ended", [True, False], ids=["the run has ended", "no run"])
async def test_somebody_elses_job_is_never_touched(nexus, payloads, annotations, ended):
    if ended:
        await nexus.queued(1)
        await nexus.say(cancelled(request_id=RUN))
        await nexus.reaches(RUN, lambda run: run.ended)
    await orphan(nexus, **annotations)
    nexus.clock.advance(100 * GRACE)
    await sweep(nexus, payloads)
    assert RUN in nexus.cluster.jobs
    assert nexus.cluster.deleted == []
    assert (await nexus.sweeper(payloads).report(10)).garbage == []


async def test_a_job_under_the_name_of_an_unfinished_run_is_let_be(nexus, payloads):
    """Its run's own Job is gone, which the reconciler tells; then this one goes."""
    await nexus.placed()
    nexus.cluster.lose(RUN)
    other = await nexus.placed(said=False)
    nexus.clock.advance(100 * GRACE)
    await sweep(nexus, payloads)
    assert nexus.cluster.jobs[RUN].metadata.uid == other.metadata.uid
    await nexus.reconciler().reconcile()
    await nexus.reaches(RUN, lambda run: run.ended)
    await sweep(nexus, payloads)
    assert nexus.cluster.deleted == [(RUN, other.metadata.uid, "Background")]


async def test_a_job_that_a_zombie_made_after_the_run_was_collected(nexus, payloads):
    """It read the row before the run ended, and was slow to create. Nobody else would ever look for this Job."""
    job = await nexus.placed()
    await nexus.say(completed(request_id=RUN))
    nexus.cluster.end(RUN, 0)
    collector = nexus.collector()
    nexus.drive(collector, RUNS, consumers="collector")
    row = await nexus.reaches(RUN, lambda run: run.collected_at)
    second = await nexus.cluster.create(MATERIALIZER.job(row.request, "http://payload"))
    await sweep(nexus, payloads)
    assert nexus.cluster.jobs == {}
    assert [uid for _, uid, _ in nexus.cluster.deleted] == [job.metadata.uid, second.job.metadata.uid]
    said = [each for each in await nexus.said(RUNS, RUN) if isinstance(each, OrphanCollected)]
    assert [(each.job_uid, each.confirmed) for each in said] == [
        (second.job.metadata.uid, False),
        (second.job.metadata.uid, True),
    ]
    row = await nexus.store.get(RUN)
    assert (row.stage, row.job_uid) == (Stage.COMPLETED, job.metadata.uid)
    assert await nexus.history(RUN) == [
        "JobCreated",
        "RunCompleted",
        "JobCollected",
        "OrphanCollected",
        "OrphanCollected",
    ]


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "goes on"])
async def test_a_job_of_which_nobody_lived_to_tell_is_told_of(nexus, payloads, ended):
    """Neither its scheduler nor a watcher. Of a run that ended the collector takes it from there."""
    nexus.drive(nexus.collector(), RUNS, consumers="collector")
    job = await nexus.placed(said=False)
    if ended:
        await nexus.say(cancelled(request_id=RUN))
        await nexus.reaches(RUN, lambda run: run.ended)
    await sweep(nexus, payloads)
    row = await nexus.reaches(RUN, lambda run: run.job_uid)
    assert (row.job_uid, row.cluster_id) == (job.metadata.uid, nexus.cluster.uid)
    if ended:
        await nexus.reaches(RUN, lambda run: run.collected_at)
        assert nexus.cluster.jobs == {}
        assert "EvidenceRecorded" in await nexus.types(RUN)
    else:
        assert RUN in nexus.cluster.jobs


async def test_jobs_of_living_runs_stay_whatever_their_age(nexus, payloads):
    await nexus.placed()
    nexus.clock.advance(1000 * GRACE)
    await sweep(nexus, payloads)
    assert await nexus.types(RUN) == ["JobCreated"]
    assert RUN in nexus.cluster.jobs


async def test_nothing_is_decided_before_the_watermark(installation, payloads):
    """The row of the Job's run may wait to be folded."""
    await orphan(installation)
    installation.clock.advance(10 * GRACE)
    await installation.sweeper(payloads).sweep()
    assert RUN in installation.cluster.jobs
    ledger = installation.start_ledger()
    await installation.caught_up()
    await installation.stop(ledger)
    uid = installation.cluster.jobs[RUN].metadata.uid
    await installation.cluster.delete(RUN, uid, "Background")
    await orphan(installation)
    installation.clock.advance(10 * GRACE)
    await installation.sweeper(payloads).sweep()
    assert RUN in installation.cluster.jobs


async def test_a_cluster_that_is_away_holds_up_no_other(nexus, payloads):
    far = nexus.clusters[ELSEWHERE] = SimulatedCluster(nexus.clock, ELSEWHERE)
    await orphan(nexus)
    nexus.clusters.clear()
    nexus.clusters.update({ELSEWHERE: far, nexus.cluster.name: nexus.cluster})
    far.away = True
    nexus.clock.advance(2 * GRACE)
    await nexus.caught_up()
    report = await nexus.sweeper(payloads).report(10)
    assert ([each.name for each in report.garbage], report.unheard) == ([RUN], [ELSEWHERE])
    await sweep(nexus, payloads)
    assert nexus.cluster.jobs == {}


async def test_a_crash_before_the_deletion_says_the_same_at_the_next_sweep(nexus, payloads):
    await orphan(nexus)
    nexus.clock.advance(2 * GRACE)

    class Dying(SimulatedCluster):
        async def delete(self, name, uid, policy):
            raise Unavailable("and then the power went")

    nexus.cluster.__class__, usual = Dying, nexus.cluster.__class__
    await sweep(nexus, payloads)
    nexus.cluster.__class__ = usual
    await sweep(nexus, payloads)
    first, again, after = [record.headers["ce_id"] for record in await nexus.records(RUNS)]
    assert first == again != after


# Payloads


async def put(payloads: FolderPayloadStore, tmp_path, key: str, at: datetime) -> None:
    await payloads.put(key, b"{}")
    os.utime(tmp_path / "payloads" / key, (at.timestamp(), at.timestamp()))


def key_of(number: int, algorithm: str = ALGORITHM) -> str:
    return payload_key(algorithm, run_id(number))


async def test_a_payload_goes_when_its_run_has_ended_for_long(nexus, payloads, tmp_path):
    for number in (1, 2):
        await nexus.queued(number)
        await put(payloads, tmp_path, key_of(number), nexus.clock())
    await nexus.say(completed(request_id=RUN, at=nexus.clock()))
    await nexus.reaches(RUN, lambda run: run.ended)
    nexus.clock.advance(RETENTION - 10)
    await sweep(nexus, payloads)
    assert await payloads.get(key_of(1)) == b"{}"
    nexus.clock.advance(20)
    await sweep(nexus, payloads)
    assert await payloads.get(key_of(1)) is None
    assert await payloads.get(key_of(2)) == b"{}", "its run goes on"
    said = [each for each in await nexus.said(RUNS) if isinstance(each, PayloadCollected)]
    assert [(each.key, each.confirmed) for each in said] == [(key_of(1), False), (key_of(1), True)]
    assert (await nexus.history(RUN))[-2:] == ["PayloadCollected"] * 2
    await sweep(nexus, payloads)
    assert len(await nexus.types(RUN)) == 3


async def test_a_payload_without_a_run_is_kept_for_longer_than_it_could_be_placed(nexus, payloads, tmp_path):
    await put(payloads, tmp_path, key_of(1), nexus.clock())
    nexus.clock.advance(PAYLOAD_GRACE - 10)
    await sweep(nexus, payloads)
    assert await payloads.get(key_of(1)) == b"{}"
    nexus.clock.advance(20)
    await sweep(nexus, payloads)
    assert await payloads.get(key_of(1)) is None
    assert await nexus.said(DEAD_LETTERS) == []


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("algorithm=alg/5f0c1b2e-8a55-4b1e-9f43-0c6f6a0b8f11", id="upstream's, by a random id"),
        pytest.param("algorithm=alg/notes.txt", id="no id"),
        pytest.param(f"alg/{run_id(1)}", id="no algorithm"),
        pytest.param(f"algorithm=alg/{run_id(0xABC).upper()}", id="not as we write it"),
        pytest.param(f"algorithm=another/{run_id(7)}", id="the id of another algorithm's run"),
    ],
)
async def test_what_somebody_else_put_there_is_never_touched(nexus, payloads, tmp_path, key):
    await nexus.queued(7)
    await nexus.say(completed(request_id=run_id(7), at=nexus.clock()))
    await nexus.reaches(run_id(7), lambda run: run.ended)
    await put(payloads, tmp_path, key, nexus.clock())
    nexus.clock.advance(100 * RETENTION)
    await sweep(nexus, payloads)
    assert await payloads.get(key) == b"{}"


async def test_young_payloads_are_passed_over_and_old_ones_of_other_algorithms_found(
    nexus, payloads, tmp_path
):
    """Ids say when they were made, so that a page of young ones is the last of its algorithm that is looked at."""
    asked = []
    stored = payloads.stored

    async def one_page(after, limit):
        asked.append(after)
        return await stored(after, 2)

    payloads.stored = one_page
    young = [payload_key("a", f"019f0000-0000-7000-8000-{number:012x}") for number in range(9)]
    for key in young:
        await put(payloads, tmp_path, key, nexus.clock() + timedelta(seconds=2 * PAYLOAD_GRACE))
    for number in range(4):
        await put(payloads, tmp_path, key_of(number, "b"), nexus.clock())
    nexus.clock.advance(2 * PAYLOAD_GRACE)
    await sweep(nexus, payloads)
    assert asked == ["", "algorithm=a/~", key_of(1, "b"), key_of(3, "b")]
    assert [await payloads.get(key) for key in young] == [b"{}"] * 9
    assert [await payloads.get(key_of(number, "b")) for number in range(4)] == [None] * 4


# What would go


async def test_the_report_names_everything_and_removes_nothing(nexus, payloads, tmp_path):
    await nexus.placed(1)
    await nexus.placed(2)
    await nexus.say(cancelled(request_id=RUN, at=nexus.clock()))
    await nexus.reaches(RUN, lambda run: run.ended)
    nobodys = Materializer(MATERIALIZER.installation, "1", timedelta(1)).job(
        nexus.request(3), "http://payload"
    )
    await nexus.cluster.create(nobodys)
    await put(payloads, tmp_path, key_of(4), nexus.clock())
    nexus.clock.advance(RETENTION)
    await nexus.caught_up()
    before = await nexus.said(RUNS)
    report = await nexus.sweeper(payloads).report(10)
    assert [(each.kind, each.name, each.because) for each in report.garbage] == [
        ("job", RUN, "its run has ended"),
        ("job", run_id(3), "there is no run of its name"),
        ("payload", key_of(4), "no run has it"),
    ]
    assert (report.more, report.unheard) == (False, [])
    short = await nexus.sweeper(payloads).report(2)
    assert (len(short.garbage), short.more) == (2, True)
    assert await nexus.said(RUNS) == before
    assert set(nexus.cluster.jobs) == {RUN, run_id(2), run_id(3)}
    assert await payloads.get(key_of(4)) == b"{}"


async def test_it_sweeps_again_and_again(nexus, payloads):
    await orphan(nexus)
    nexus.spawn(nexus.sweeper(payloads).run(timedelta(milliseconds=10)))
    await nexus.until(lambda: not nexus.cluster.jobs, passing=GRACE / 20)
    assert not any(isinstance(each, JobCreated) for each in await nexus.said(RUNS))
