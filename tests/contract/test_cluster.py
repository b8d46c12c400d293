"""What every adapter of the port `Cluster` does with a Job."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nexus.domain.errors import Refused
from nexus.domain.events import DeletionPolicy
from nexus.domain.observed import JobView, PodView
from nexus.domain.verdict import is_certain
from nexus.ports import Change, Listed
from tests.contract.clusters import (
    Bed,
    create,
    ended,
    failure,
    gone,
    kubernetes_bed,
    local_bed,
    manifest,
    owned_by,
    run,
    running,
    until,
)
from tests.support.servers import on_server

REASON = "CreateContainerConfigError"
DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.fixture(params=["local", *on_server("kubernetes_server", "kubernetes")])
async def bed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bed]:
    if request.param == "local":
        async with local_bed(tmp_path) as bed:
            yield bed
    else:
        async with kubernetes_bed(request.getfixturevalue("kubernetes_server")) as bed:
            yield bed


async def test_identity_stays(bed: Bed) -> None:
    assert uuid.UUID(await bed.cluster.identity())
    assert await bed.cluster.identity() == await bed.cluster.identity()


async def test_success(bed: Bed) -> None:
    before = datetime.now(UTC)
    view, (pod,) = await run(bed.cluster, bed.succeeds())
    assert [condition.type for condition in view.status.conditions] == ["SuccessCriteriaMet", "Complete"]
    assert (view.status.succeeded, view.status.failed, view.status.active) == (1, 0, 0)
    assert view.metadata.labels["team"] == "sea"
    assert view.metadata.annotations["note"] == "kept"
    assert view.status.start_time
    assert view.status.completion_time
    assert view.status.completion_time >= view.status.start_time
    assert pod.metadata.labels["team"] == "sea"
    assert pod.metadata.labels["batch.kubernetes.io/job-name"] == view.metadata.name
    assert pod.metadata.name.startswith(f"{view.metadata.name}-")
    assert pod.status.phase == "Succeeded"
    assert pod.terminated
    assert (pod.terminated.exit_code, pod.terminated.reason) == (0, "Completed")
    assert pod.started_at
    assert abs(pod.started_at - before).total_seconds() < 30


async def test_events_tell_what_happened(bed: Bed) -> None:
    view, _ = await run(bed.cluster, bed.succeeds())

    async def told() -> bool:
        reasons = {event.partition(":")[0] for event in await bed.cluster.events(view.metadata.name)}
        return reasons >= {"SuccessfulCreate", "Scheduled", "Completed"}

    await until(told)


async def test_a_failure_is_tried_again_until_the_backoff_limit(bed: Bed) -> None:
    view, pods = await run(bed.cluster, bed.fails(3, backoffLimit=1))
    assert failure(view) == ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert view.status.failed == 2
    assert len({pod.metadata.name for pod in pods}) == 2
    assert [pod.metadata.creation_timestamp for pod in pods] == sorted(
        pod.metadata.creation_timestamp for pod in pods if pod.metadata.creation_timestamp
    )
    for pod in pods:
        assert pod.status.phase == "Failed"
        assert pod.terminated
        assert (pod.terminated.exit_code, pod.terminated.reason) == (3, "Error")


async def test_an_exit_code_may_fail_the_job_at_once(bed: Bed) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [41, 42]}}
    policy = {"rules": [DISRUPTION, rule]}
    view, (pod,) = await run(bed.cluster, bed.fails(42, backoffLimit=6, podFailurePolicy=policy))
    reason, message = failure(view)
    assert reason == "PodFailurePolicy"
    assert f"/{pod.metadata.name} failed with exit code 42 matching FailJob rule at index 1" in message
    assert view.status.failed == 1


async def test_deadline(bed: Bed) -> None:
    view, pods = await run(bed.cluster, bed.hangs(activeDeadlineSeconds=1))
    assert failure(view) == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert view.status.failed == 1
    for pod in pods:  # an adapter may keep it for its log
        assert pod.status.phase == "Failed"
        assert pod.terminated
        assert pod.terminated.exit_code == 143


async def test_a_container_that_cannot_start_keeps_its_pod_waiting(bed: Bed) -> None:
    created = await create(bed.cluster, bed.never_starts(activeDeadlineSeconds=3))

    async def look() -> PodView | None:
        pods = await bed.cluster.pods(created.metadata.name)
        return next((pod for pod in pods if pod.waiting and pod.waiting.reason == REASON), None)

    pod = await until(look)
    assert pod.waiting.message == 'secret "absent" not found'
    assert pod.started_at is None
    assert failure(await ended(bed.cluster, created.metadata.name))[0] == "DeadlineExceeded"


async def test_creating_twice_finds_the_first(bed: Bed) -> None:
    job = bed.succeeds()
    one, two = await asyncio.gather(bed.cluster.create(job), bed.cluster.create(job))
    three = await bed.cluster.create(job)
    assert [one.fresh, two.fresh, three.fresh].count(True) == 1
    assert one.job.metadata.uid == two.job.metadata.uid == three.job.metadata.uid


async def test_somebody_else_s_job_of_that_name_is_shown_as_it_is(bed: Bed) -> None:
    theirs = bed.hangs()
    theirs["metadata"]["annotations"] = {"whose": "theirs"}
    await create(bed.cluster, theirs)
    found = await bed.cluster.create(bed.succeeds(name=theirs["metadata"]["name"]))
    assert not found.fresh
    assert found.job.metadata.annotations["whose"] == "theirs"


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (manifest({"command": ["true"]}, name="../escape"), "metadata.name"),
        (manifest({"command": ["true"]}, name="Upper"), "metadata.name"),
        (manifest({"command": ["true"]}, backoffLimit="many"), "backoffLimit"),
        (manifest({"command": ["true"]}, backoffLimit=-1), "backoffLimit"),
        (manifest({"command": ["true"], "resources": {"limits": {"memory": "lots"}}}), "quantit|memory"),
        (manifest({}, template={"spec": {"containers": []}}), "containers"),
        (manifest({"command": ["true"]}, podFailurePolicy={"rules": [{"action": "Panic"}]}), "Panic"),
        ({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "empty"}}, "empty"),
    ],
)
async def test_a_malformed_job_is_refused_for_good(bed: Bed, job: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refusal:
        await bed.cluster.create(job)
    assert refusal.value.status in {400, 422}
    assert refusal.value.final
    with pytest.raises(Refused, match=reason) as verdict:
        await bed.cluster.judge(job)
    assert is_certain(verdict.value)


async def test_a_job_is_judged_and_not_made(bed: Bed) -> None:
    job = bed.succeeds()
    await bed.cluster.judge(job)
    assert await bed.cluster.get(job["metadata"]["name"]) is None
    assert await bed.cluster.version() == await bed.cluster.version() != ""
    assert (await bed.cluster.create(job)).fresh


async def test_what_is_not_there(bed: Bed) -> None:
    cluster = bed.cluster
    assert await cluster.get("absent") is None
    assert list(await cluster.pods("absent")) == []
    assert list(await cluster.events("absent")) == []
    assert await cluster.log_tail("absent-x2x4z", 100) == ""
    assert not await cluster.delete("absent", str(uuid.uuid4()), "Background")


async def test_deletion_wants_that_very_job(bed: Bed) -> None:
    cluster = bed.cluster
    created = await create(cluster, bed.hangs())
    name = created.metadata.name
    assert not await cluster.delete(name, str(uuid.uuid4()), "Background")
    assert (await running(cluster, name)).status.phase == "Running"
    assert await cluster.delete(name, created.metadata.uid, "Background")
    await until(lambda: gone(cluster, name))
    again = await create(cluster, bed.succeeds(name=name))
    assert again.metadata.uid != created.metadata.uid
    assert not await cluster.delete(name, created.metadata.uid, "Background")
    assert (await ended(cluster, name)).condition("Complete")


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_children_go_with_their_parent(bed: Bed, policy: DeletionPolicy) -> None:
    cluster = bed.cluster
    parent = await create(cluster, bed.hangs())
    child = await create(cluster, bed.hangs(owners=owned_by(parent)))
    grandchild = await create(cluster, bed.hangs(owners=owned_by(child)))
    stranger = await create(cluster, bed.hangs())
    assert child.metadata.owner_references[0].uid == parent.metadata.uid
    assert await cluster.delete(parent.metadata.name, parent.metadata.uid, policy)
    for view in (parent, child, grandchild):
        await until(lambda view=view: gone(cluster, view.metadata.name))
    assert await cluster.get(stranger.metadata.name)


async def test_orphans_stay(bed: Bed) -> None:
    cluster = bed.cluster
    parent = await create(cluster, bed.hangs())
    child = await create(cluster, bed.succeeds(owners=owned_by(parent)))
    assert await cluster.delete(parent.metadata.name, parent.metadata.uid, "Orphan")
    await until(lambda: gone(cluster, parent.metadata.name))
    view = await ended(cluster, child.metadata.name)
    assert view.metadata.uid == child.metadata.uid
    assert view.metadata.owner_references == ()


async def test_the_child_of_a_parent_that_is_gone_goes_too(bed: Bed) -> None:
    cluster = bed.cluster
    parent = await create(cluster, bed.succeeds())
    await cluster.delete(parent.metadata.name, parent.metadata.uid, "Background")
    child = await create(cluster, bed.hangs(owners=owned_by(parent)))
    await until(lambda: gone(cluster, child.metadata.name))


async def test_watch_lists_and_then_follows(bed: Bed) -> None:
    cluster = bed.cluster
    earlier = await create(cluster, bed.succeeds())
    await ended(cluster, earlier.metadata.name)
    watch = cluster.watch()
    listed = await anext(watch)
    assert isinstance(listed, Listed)
    assert [view.metadata.name for view in listed.jobs] == [earlier.metadata.name]
    assert [pod.status.phase for pod in listed.pods] == ["Succeeded"]

    created = await create(cluster, bed.fails(5))
    changes = await follow(watch, lambda seen: any(view.ended for view in jobs(seen)))
    pods = [change for change in changes if isinstance(change.object, PodView)]
    phases = [change.object.status.phase for change in pods]
    assert (pods[0].kind, phases[0]) == ("ADDED", "Pending")
    assert {change.kind for change in pods[1:]} == {"MODIFIED"}
    assert list(dict.fromkeys(phases)) == ["Pending", "Running", "Failed"]
    kinds = [change.kind for change in changes if isinstance(change.object, JobView)]
    assert kinds[0] == "ADDED"
    assert set(kinds[1:]) == {"MODIFIED"}
    versions = [change.object.metadata.resource_version for change in changes]
    assert len(set(versions)) == len(versions)
    assert jobs(changes)[-1] == await cluster.get(created.metadata.name)

    await cluster.delete(created.metadata.name, created.metadata.uid, "Background")
    changes = await follow(watch, lambda seen: sum(change.kind == "DELETED" for change in seen) == 2)
    assert {type(change.object) for change in changes if change.kind == "DELETED"} == {JobView, PodView}
    await watch.aclose()


async def follow(
    watch: AsyncIterator[Listed | Change], enough: Callable[[list[Change]], bool]
) -> list[Change]:
    changes: list[Change] = []
    async with asyncio.timeout(30):
        async for change in watch:
            assert isinstance(change, Change)
            changes.append(change)
            if enough(changes):
                break
    return changes


def jobs(changes: list[Change]) -> list[JobView]:
    return [change.object for change in changes if isinstance(change.object, JobView)]


async def test_everybody_sees_the_same(bed: Bed) -> None:
    one, two = bed.cluster.watch(), bed.cluster.watch()
    for watch in (one, two):
        assert isinstance(await anext(watch), Listed)
    await run(bed.cluster, bed.succeeds())

    def end(seen: list[Change]) -> bool:
        return any(view.ended for view in jobs(seen))

    assert jobs(await follow(one, end)) == jobs(await follow(two, end))
    for watch in (one, two):
        await watch.aclose()
