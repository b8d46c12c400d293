"""Evidence: the last log that there is, and never more than a record can carry."""

from __future__ import annotations

import pytest

from nexus.domain.events import EvidenceRecorded, encode_event
from streams.supervisor.evidence import gather
from tests.streams.conftest import MATERIALIZER, ManualClock
from tests.support.factories import REQUEST_ID, fact, pod_view, run_requested
from tests.support.simulated_cluster import SimulatedCluster


@pytest.fixture
async def cluster():
    """With the Job of a run that may be tried again."""
    cluster = SimulatedCluster(ManualClock())
    manifest = MATERIALIZER.job(run_requested(), "http://payload")
    manifest["spec"]["backoffLimit"] = 20
    await cluster.create(manifest)
    return cluster


async def test_the_log_is_that_of_the_last_attempt_that_has_one(cluster):
    cluster.end(REQUEST_ID, 1, log="first\n")
    cluster.end(REQUEST_ID, 1, log="second\n")
    cluster.end(REQUEST_ID, 137, log="", reason="OOMKilled")
    pods = await cluster.pods(REQUEST_ID)
    evidence = await gather(cluster, REQUEST_ID, pods)
    assert (evidence.log_tail, evidence.log_of, evidence.note) == ("second\n", pods[1].metadata.name, "")
    assert [pod.terminated and pod.terminated.exit_code for pod in evidence.pods] == [1, 1, 137, None]


@pytest.mark.parametrize(
    ("started", "note"), [(True, "its containers wrote none, or are gone"), (False, "no container started")]
)
async def test_where_there_is_no_log_it_says_why(started, note):
    cluster = SimulatedCluster(ManualClock())
    cluster.holds_starts = not started
    await cluster.create(MATERIALIZER.job(run_requested(), "http://payload"))
    evidence = await gather(cluster, REQUEST_ID, await cluster.pods(REQUEST_ID))
    assert evidence.note == f"no log, because {note}"
    assert (await gather(cluster, REQUEST_ID, ())).note == "no log, because there is no pod"


async def test_a_cluster_that_is_away_leaves_what_is_known(cluster):
    pods = await cluster.pods(REQUEST_ID)
    cluster.away = True
    evidence = await gather(cluster, REQUEST_ID, pods)
    assert [pod.metadata.name for pod in evidence.pods] == [pods[0].metadata.name]
    assert "cannot be reached" in evidence.note


async def test_it_fits_into_a_record_however_much_was_said(cluster):
    ended = {"exitCode": 1, "reason": "Error", "message": "m" * 4096, "startedAt": "2026-01-02T03:04:05Z"}
    pods = [
        pod_view(
            f"{REQUEST_ID}-{number}",
            annotations={"huge": "x" * 200_000},
            status={
                "phase": "Failed",
                "message": "w" * 10_000,
                "startTime": "2026-01-02T03:04:05Z",
                "containerStatuses": [{"name": "main", "state": {"terminated": ended}}],
            },
        )
        for number in range(40)
    ]
    cluster._said[REQUEST_ID] = ["Failed: " + "e" * 5000] * 500
    cluster._logs[pods[-1].metadata.name] = "l" * 100_000
    evidence = await gather(cluster, REQUEST_ID, pods)
    assert len(evidence.log_tail) == 16 * 1024
    assert (len(evidence.pods), len(evidence.events)) == (10, 50)
    assert len(encode_event(fact(EvidenceRecorded, evidence=evidence))) < 300_000


STARTED = {
    "containerStatuses": [
        {"name": "main", "state": {"terminated": {"exitCode": 1, "startedAt": "2026-01-02T03:04:05Z"}}}
    ]
}


@pytest.mark.parametrize(("lines", "cut"), [(1000, False), (1024, False), (1025, True), (50_000, True)])
async def test_a_log_that_is_longer_than_its_evidence_is_marked_as_cut(cluster, lines, cut):
    pods = [
        pod_view(
            f"{REQUEST_ID}-0", status={"phase": "Failed", "startTime": "2026-01-02T03:04:05Z", **STARTED}
        )
    ]
    cluster._logs[pods[-1].metadata.name] = "".join(f"line {number:010}\n" for number in range(lines))
    evidence = await gather(cluster, REQUEST_ID, pods)
    first, *others = evidence.log_tail.splitlines()
    assert (first == "[... cut by Nexus: the log is longer ...]") is cut
    assert others[-1] == f"line {lines - 1:010}"
    assert all(line.startswith("line ") for line in others)
    assert len(evidence.log_tail.encode()) <= 16 * 1024
