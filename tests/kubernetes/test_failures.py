"""Each scenario on a real API server, under the real streams: what Nexus says of it, and with what evidence.

All of them are played at once, since a node that is gone takes the cluster most of a minute to notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from nexus.domain.diagnosis import GRACES
from nexus.domain.errors import Refused
from nexus.domain.events import Event, Evidence, RunDeferred, RunStalled, evidence_in
from nexus.domain.placement import refused, timed_out
from nexus.domain.run import Run, Stage
from nexus.domain.topics import RUNS
from nexus.kubernetes.cluster import KubernetesCluster
from streams.watcher import Watcher
from tests.contract.clusters import manifest
from tests.kubernetes.record import play
from tests.kubernetes.scenarios import SCENARIOS, Scenario
from tests.kubernetes.scene import Scene, scene
from tests.streams.conftest import CLUSTER, Installation, WallClock
from tests.support.factories import fact, folded
from tests.support.kube import SIM, Namespace

SECONDS = 150.0


class Outcome(NamedTuple):
    """A run as it is in the projections, and its history."""

    row: Run
    history: list[Event]

    @property
    def evidence(self) -> list[Evidence]:
        return [evidence for event in self.history if (evidence := evidence_in(event))]


async def played(nexus: Installation, built: Scene) -> Mapping[str, Outcome]:
    """Play everything: first to the end of what ends by itself, then until what hangs was given up."""
    nexus.start_ledger()
    nexus.spawn(Watcher(nexus.cluster, nexus.journal, nexus.clock).run())
    nexus.start_supervisor()
    collector = nexus.collector(linger=1)
    nexus.drive(collector, RUNS, consumers="collector")
    nexus.spawn(collector.sweep(timedelta(seconds=1)))
    await nexus.say(*(scenario.request() for scenario in SCENARIOS))
    await nexus.caught_up()
    await play(built, SCENARIOS)
    await ended(nexus, [each for each in SCENARIOS if each.ends and not each.hangs])
    graces = dict.fromkeys(GRACES, 3.0)
    nexus.spawn(nexus.reconciler(grace=2, **graces).run(timedelta(seconds=0.5)))
    await ended(nexus, [each for each in SCENARIOS if each.ends])
    rows = await nexus.store.get_many([each.run for each in SCENARIOS])
    return {
        each.name: Outcome(rows[each.run], [entry.event for entry in await nexus.store.history(each.run)])
        for each in SCENARIOS
    }


async def ended(nexus: Installation, scenarios: Iterable[Scenario]) -> None:
    """All of them are, and their Jobs are collected. What is not after a while is the test's to tell."""
    ids = [each.run for each in scenarios]
    loop = asyncio.get_running_loop()
    until = loop.time() + SECONDS
    while loop.time() < until:
        rows = await nexus.store.get_many(ids)
        if all(rows[run].ended and not rows[run].has_job for run in ids):
            return
        await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(
    kubernetes_process: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, Outcome]]:
    folder = tmp_path_factory.mktemp("failures")
    async with scene(kubernetes_process, folder) as built:
        nexus = Installation(folder, WallClock())
        cluster = KubernetesCluster(CLUSTER, built.there.connection, built.there.name)
        nexus.cluster = nexus.clusters[CLUSTER] = cluster
        try:
            yield await played(nexus, built)
        finally:
            await nexus.close()


def named(*, ends: bool) -> Any:
    scenarios = [each for each in SCENARIOS if (each.ends is not None) is ends]
    return pytest.mark.parametrize("scenario", scenarios, ids=lambda each: each.name)


@named(ends=True)
def test_it_ends_with_a_cause_and_what_to_do(outcomes: Mapping[str, Outcome], scenario: Scenario) -> None:
    row, history = outcomes[scenario.name]
    assert row.diagnosis, (row.stage, row.stalled, history)
    assert (row.stage, row.diagnosis.category) == scenario.ends
    assert row.diagnosis.cause == scenario.cause
    assert scenario.details in row.diagnosis.details
    assert scenario.hint in row.diagnosis.hint
    shown = [event.diagnosis.category for event in history if isinstance(event, RunStalled)]
    assert (scenario.hangs in shown) if scenario.hangs else not shown


@named(ends=True)
def test_its_evidence_is_in_the_log_before_its_job_is_removed(
    outcomes: Mapping[str, Outcome], scenario: Scenario
) -> None:
    row, history = outcomes[scenario.name]
    assert row.collected_at
    removed = [type(event).__name__ for event in history].index("JobCollected")
    assert any(evidence_in(event) for event in history[:removed])
    evidence = outcomes[scenario.name].evidence
    logs = [each.log_tail for each in evidence if each.log_tail]
    if scenario.log:
        assert logs[-1].endswith("ValueError: there is no column 'price'\n")
    else:
        assert logs or evidence[-1].note
    # Of a Job that no controller looks after, nobody says a word.
    assert bool(evidence[-1].events) is not scenario.unmanaged


@named(ends=False)
def test_it_goes_on(outcomes: Mapping[str, Outcome], scenario: Scenario) -> None:
    row, _ = outcomes[scenario.name]
    assert (row.stage, row.stalled) == (Stage.RUNNING, None)
    assert row.started_at


# What the cluster refuses to make a Job of


async def refusal(there: Namespace, job: dict[str, Any]) -> Refused:
    cluster = KubernetesCluster(CLUSTER, there.connection, there.name)
    with pytest.raises(Refused) as refusal:
        await cluster.create(job)
    return refusal.value


def diagnosed(error: Refused) -> tuple[Stage, str, str]:
    end = refused(folded(), str(error), datetime.now(UTC))
    assert str(error) in end.diagnosis.details
    assert end.diagnosis.cause.startswith(
        "Algorithm submission was buffered, but failed to launch on the target cluster: "
    )
    row = folded(end)
    return row.stage, end.diagnosis.category, end.diagnosis.hint


async def test_an_invalid_job(there: Namespace) -> None:
    error = await refusal(there, manifest({}, backoffLimit=-1))
    stage, category, hint = diagnosed(error)
    assert (stage, category, error.final) == (Stage.SCHEDULING_FAILED, "InvalidJob", True)
    assert "spec.backoffLimit" in error.reason
    assert "Correct the field that is named" in hint


async def test_a_webhook_that_denies_the_job(kubernetes_process: Path, tmp_path: Path) -> None:
    async with scene(kubernetes_process, tmp_path) as built:
        job = manifest({})
        job["metadata"]["labels"] = job["metadata"]["labels"] | {f"{SIM}/denied": "true"}
        error = await refusal(built.there, job)
    stage, category, hint = diagnosed(error)
    assert (stage, category) == (Stage.SCHEDULING_FAILED, "AdmissionDenied")
    assert "no image without a signature" in error.reason
    assert "the policy's reason" in hint


async def test_a_quota_of_jobs_is_waited_for_until_the_placement_deadline(there: Namespace) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    await there.call("POST", "/api/v1/namespaces/{}/resourcequotas", quota)
    async with asyncio.timeout(20):
        while "status" not in (quota := await there.call("GET", "/api/v1/namespaces/{}/resourcequotas/none")):
            await asyncio.sleep(0.05)
        while not quota["status"].get("hard"):
            await asyncio.sleep(0.05)
            quota = await there.call("GET", "/api/v1/namespaces/{}/resourcequotas/none")
    error = await refusal(there, manifest({}))
    stage, category, hint = diagnosed(error)
    assert (stage, category, error.final) == (Stage.SCHEDULING_FAILED, "QuotaExceeded", False)
    assert "exceeded quota: none" in error.reason
    parked = folded(fact(RunDeferred, attempt=1, until=datetime.now(UTC), reason=str(error)))
    end = timed_out(parked, datetime.now(UTC))
    assert end.diagnosis.category == "PlacementDeadline"
    assert "exceeded quota: none" in end.diagnosis.cause
    assert end.diagnosis.hint == hint
    assert "raise the namespace's quota" in hint


async def test_a_namespace_that_is_not_there(there: Namespace) -> None:
    error = await refusal(Namespace(there.connection, "absent"), manifest({}))
    stage, category, hint = diagnosed(error)
    assert (stage, category, error.final) == (Stage.SCHEDULING_FAILED, "NamespaceMissing", True)
    assert "kubernetes.namespace" in hint
