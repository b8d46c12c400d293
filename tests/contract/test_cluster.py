"""What every adapter of the port `Cluster` does with a Job. Commands need `sh` and `python` and nothing else."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nexus.domain.errors import Refused
from nexus.domain.observed import JobView, PodView
from nexus.embedded.cluster.local import LocalCluster
from nexus.ports import Change, Cluster, Listed

ALGORITHM = "science.sneaksanddata.com/algorithm-template-name"
DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.fixture(params=["local"])
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    """An empty cluster with two slots, which is quick with back-off and impatient with commands that hang."""
    assert request.param == "local"
    local = LocalCluster(
        tmp_path / "cluster",
        slots=2,
        directory_of=lambda _: tmp_path,
        environment={"FROM_CLUSTER": "cluster", "SAID_TWICE": "cluster"},
        retry_delay=0.02,
        grace=0.3,
    )
    await local.start()
    try:
        yield local
    finally:
        listed = await first_list(local)
        for job in listed.jobs:
            await local.delete(job.metadata.name, job.metadata.uid, "Background")
        await local.stop()


def job(command: list[str], *args: str, name: str = "", **spec: Any) -> dict[str, Any]:
    """`owners`, `env`, `env_from` and `memory` go where they belong; the rest is of the Job's spec."""
    container = {"name": "main", "image": "example.test/algorithm:1", "command": command, "args": list(args)}
    if env := spec.pop("env", None):
        container["env"] = env
    if env_from := spec.pop("env_from", None):
        container["envFrom"] = env_from
    if memory := spec.pop("memory", None):
        container["resources"] = {"limits": {"memory": memory, "cpu": "1"}}
    labels = {ALGORITHM: "algorithm", "team": "sea"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name or str(uuid.uuid4()),
            "labels": labels,
            "annotations": {"note": "kept"},
            "ownerReferences": spec.pop("owners", []),
            "creationTimestamp": None,
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "restartPolicy": "Never"},
            },
            **spec,
        },
    }


def shell(script: str, **spec: Any) -> dict[str, Any]:
    return job(["sh", "-c"], script, **spec)


def owned_by(owner: JobView) -> list[dict[str, str]]:
    return [{"apiVersion": "batch/v1", "kind": "Job", "name": owner.metadata.name, "uid": owner.metadata.uid}]


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 10) -> Any:
    async with asyncio.timeout(seconds):
        while not (result := await condition()):
            await asyncio.sleep(0.01)
    return result


async def first_list(cluster: Cluster) -> Listed:
    watch = cluster.watch()
    listed = await anext(watch)
    await watch.aclose()
    assert isinstance(listed, Listed)
    return listed


async def create(cluster: Cluster, manifest: dict[str, Any]) -> JobView:
    created = await cluster.create(manifest)
    assert created.fresh
    return created.job


async def ended(cluster: Cluster, name: str) -> JobView:
    async def look() -> JobView | None:
        view = await cluster.get(name)
        assert view is not None
        return view if view.ended else None

    return await until(look)


async def run(cluster: Cluster, manifest: dict[str, Any]) -> tuple[JobView, list[PodView]]:
    """The Job and its pods once it has ended."""
    created = await create(cluster, manifest)
    view = await ended(cluster, created.metadata.name)
    return view, list(await cluster.pods(created.metadata.name))


async def running(cluster: Cluster, name: str) -> PodView:
    async def look() -> PodView | None:
        return next((pod for pod in await cluster.pods(name) if pod.status.phase == "Running"), None)

    return await until(look)


def failure(view: JobView) -> tuple[str, str]:
    """Reason and message, once the conditions are known to be those of a failure."""
    assert [condition.type for condition in view.status.conditions] == ["FailureTarget", "Failed"]
    failed = view.condition("Failed")
    assert failed is not None
    assert view.status.active == 0
    return failed.reason, failed.message


async def test_identity_stays(cluster: Cluster) -> None:
    assert uuid.UUID(await cluster.identity())
    assert await cluster.identity() == await cluster.identity()


async def test_success(cluster: Cluster) -> None:
    before = datetime.now(UTC)
    view, (pod,) = await run(cluster, shell("echo out; echo err >&2"))
    assert [condition.type for condition in view.status.conditions] == ["SuccessCriteriaMet", "Complete"]
    assert (view.status.succeeded, view.status.failed, view.status.active) == (1, 0, 0)
    assert view.metadata.labels["team"] == "sea"
    assert view.metadata.annotations == {"note": "kept"}
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
    assert abs(pod.started_at - before).total_seconds() < 10
    assert await cluster.log_tail(pod.metadata.name, 1000) == "out\nerr\n"
    assert await cluster.log_tail(pod.metadata.name, 4) == "err\n"
    reasons = [event.partition(":")[0] for event in await cluster.events(view.metadata.name)]
    assert reasons == ["SuccessfulCreate", "Scheduled", "Started", "Completed"]


async def test_arguments_and_environment_arrive_as_they_are(cluster: Cluster) -> None:
    script = "import os, sys; print(sys.argv[1:], [os.environ.get(n) for n in sys.argv[1].split()])"
    names = "FROM_CLUSTER SAID_TWICE MINE EMPTY LEFT_OUT"
    manifest = job(
        ["python", "-c", script],
        names,
        "$HOME; 'two  words'",
        "",
        env=[
            {"name": "MINE", "value": "first"},
            {"name": "SAID_TWICE", "value": "container"},
            {"name": "MINE", "value": "last"},
            {"name": "EMPTY"},
            {"name": "LEFT_OUT", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": True}}},
        ],
        env_from=[{"secretRef": {"name": "absent", "optional": True}}],
    )
    _, (pod,) = await run(cluster, manifest)
    assert await cluster.log_tail(pod.metadata.name, 1000) == (
        f"{[names, chr(36) + 'HOME; ' + repr('two  words'), '']} {['cluster', 'container', 'last', '', None]}\n"
    )


async def test_retries_until_the_backoff_limit(cluster: Cluster) -> None:
    view, pods = await run(cluster, shell("echo boom; exit 3", backoffLimit=2))
    assert failure(view) == ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert view.status.failed == 3
    assert len({pod.metadata.name for pod in pods}) == 3
    for pod in pods:
        assert pod.status.phase == "Failed"
        assert pod.terminated
        assert (pod.terminated.exit_code, pod.terminated.reason) == (3, "Error")
        assert pod.terminated.message == "boom\n"


async def test_a_later_attempt_may_succeed(cluster: Cluster, tmp_path: Path) -> None:
    view, pods = await run(cluster, shell(f"mkdir {tmp_path}/tried && exit 1; exit 0", backoffLimit=6))
    assert view.condition("Complete")
    assert (view.status.succeeded, view.status.failed) == (1, 1)
    assert [pod.status.phase for pod in pods] == ["Failed", "Succeeded"]


async def test_an_exit_code_may_fail_the_job_at_once(cluster: Cluster) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [41, 42]}}
    policy = {"rules": [DISRUPTION, rule]}
    view, (pod,) = await run(cluster, shell("exit 42", backoffLimit=6, podFailurePolicy=policy))
    assert failure(view) == (
        "PodFailurePolicy",
        f"Container main for pod default/{pod.metadata.name} failed with exit code 42 matching FailJob rule at index 1",
    )
    assert view.status.failed == 1


async def test_an_ignored_exit_code_is_tried_again_until_the_deadline(cluster: Cluster) -> None:
    policy = {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}}]}
    view, pods = await run(cluster, shell("exit 9", activeDeadlineSeconds=1, podFailurePolicy=policy))
    assert failure(view) == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert len(pods) > 1
    assert view.status.failed <= 1


async def test_deadline(cluster: Cluster) -> None:
    view, pods = await run(cluster, job(["sleep", "60"], activeDeadlineSeconds=1))
    assert failure(view) == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert view.status.failed == 1
    for pod in pods:  # an adapter may keep it for its log
        assert pod.status.phase == "Failed"
        assert pod.terminated
        assert pod.terminated.exit_code == 143


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command"])
async def test_a_command_that_is_not_there(cluster: Cluster, command: str) -> None:
    view, (pod,) = await run(cluster, job([command]))
    assert failure(view)[0] == "BackoffLimitExceeded"
    assert pod.status.phase == "Failed"
    assert pod.terminated
    assert (pod.terminated.reason, pod.terminated.exit_code) == ("StartError", 128)
    assert f'exec: "{command}": ' in pod.terminated.message
    assert await cluster.log_tail(pod.metadata.name, 100) == ""


async def test_memory_limit(cluster: Cluster) -> None:
    script = "import time; data = bytearray(300_000_000); time.sleep(60)"
    view, (pod,) = await run(cluster, job(["python", "-c", script], memory="100Mi"))
    assert failure(view)[0] == "BackoffLimitExceeded"
    assert pod.terminated
    assert (pod.terminated.exit_code, pod.terminated.reason) == (137, "OOMKilled")


async def test_killed_by_a_signal(cluster: Cluster) -> None:
    _, (pod,) = await run(cluster, shell("kill -9 $$"))
    assert pod.terminated
    assert (pod.terminated.exit_code, pod.terminated.reason) == (137, "Error")


async def test_the_message_of_a_failure_is_the_end_of_its_log(cluster: Cluster) -> None:
    _, (pod,) = await run(cluster, shell("seq 1 200; exit 1"))
    assert pod.terminated
    assert pod.terminated.message.split() == [str(n) for n in range(121, 201)]


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ({"env_from": [{"secretRef": {"name": "absent"}}]}, 'secret "absent" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "k"}}}]},
            'configmap "absent" not found',
        ),
    ],
)
async def test_what_cannot_be_resolved_keeps_the_pod_waiting(
    cluster: Cluster, source: dict[str, Any], missing: str
) -> None:
    created = await create(cluster, shell("exit 0", activeDeadlineSeconds=1, **source))
    name = created.metadata.name

    async def look() -> str | None:
        (pod,) = await cluster.pods(name)
        waiting = pod.waiting
        return waiting.message if waiting and waiting.reason == "CreateContainerConfigError" else None

    assert await until(look) == missing
    assert failure(await ended(cluster, name))[0] == "DeadlineExceeded"


async def test_creating_twice_finds_the_first(cluster: Cluster) -> None:
    manifest = shell("exit 0")
    one, two = await asyncio.gather(cluster.create(manifest), cluster.create(manifest))
    three = await cluster.create(manifest)
    assert [one.fresh, two.fresh, three.fresh].count(True) == 1
    assert one.job.metadata.uid == two.job.metadata.uid == three.job.metadata.uid


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (shell("true", name="../escape"), "metadata.name"),
        (shell("true", name="Upper"), "metadata.name"),
        (shell("true", backoffLimit="many"), "backoffLimit"),
        (shell("true", backoffLimit=-1), "backoffLimit"),
        (shell("true", memory="lots"), "memory"),
        (shell("true", template={"spec": {"containers": []}}), "containers"),
        (shell("true", podFailurePolicy={"rules": [{"action": "Panic"}]}), "Panic"),
        ({"metadata": {"name": "empty"}}, "empty"),
    ],
)
async def test_a_malformed_job_is_refused_for_good(
    cluster: Cluster, manifest: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused, match=reason) as refusal:
        await cluster.create(manifest)
    assert refusal.value.status == 422
    assert refusal.value.final


async def test_what_is_not_there(cluster: Cluster) -> None:
    assert await cluster.get("absent") is None
    assert list(await cluster.pods("absent")) == []
    assert list(await cluster.events("absent")) == []
    assert await cluster.log_tail("absent-x2x4z", 100) == ""
    assert not await cluster.delete("absent", str(uuid.uuid4()), "Background")


async def test_deletion_wants_that_very_job(cluster: Cluster) -> None:
    created = await create(cluster, job(["sleep", "60"]))
    name = created.metadata.name
    assert not await cluster.delete(name, str(uuid.uuid4()), "Background")
    assert (await running(cluster, name)).status.phase == "Running"
    assert await cluster.delete(name, created.metadata.uid, "Background")
    await until(lambda: gone(cluster, name))
    again = await create(cluster, shell("exit 0", name=name))
    assert again.metadata.uid != created.metadata.uid
    assert not await cluster.delete(name, created.metadata.uid, "Background")
    assert (await ended(cluster, name)).condition("Complete")


async def gone(cluster: Cluster, name: str) -> bool:
    return await cluster.get(name) is None and not await cluster.pods(name)


async def test_deletion_while_pending(cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        await create(cluster, job(["sleep", "60"]))
    waiting = await create(cluster, shell(f"touch {tmp_path}/ran"))
    (pod,) = await cluster.pods(waiting.metadata.name)
    assert pod.status.phase == "Pending"
    assert await cluster.delete(waiting.metadata.name, waiting.metadata.uid, "Background")
    await until(lambda: gone(cluster, waiting.metadata.name))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_children_go_with_their_parent(cluster: Cluster, policy: Any) -> None:
    parent = await create(cluster, job(["sleep", "60"]))
    child = await create(cluster, job(["sleep", "60"], owners=owned_by(parent)))
    grandchild = await create(cluster, job(["sleep", "60"], owners=owned_by(child)))
    stranger = await create(cluster, job(["sleep", "60"]))
    assert child.metadata.owner_references[0].uid == parent.metadata.uid
    assert await cluster.delete(parent.metadata.name, parent.metadata.uid, policy)
    for view in (parent, child, grandchild):
        await until(lambda view=view: gone(cluster, view.metadata.name))
    assert await cluster.get(stranger.metadata.name)


async def test_orphans_stay(cluster: Cluster) -> None:
    parent = await create(cluster, job(["sleep", "60"]))
    child = await create(cluster, shell("exit 0", owners=owned_by(parent)))
    assert await cluster.delete(parent.metadata.name, parent.metadata.uid, "Orphan")
    await until(lambda: gone(cluster, parent.metadata.name))
    view = await ended(cluster, child.metadata.name)
    assert view.metadata.uid == child.metadata.uid
    assert view.metadata.owner_references == ()


async def test_the_child_of_a_parent_that_is_gone_goes_too(cluster: Cluster) -> None:
    parent = await create(cluster, shell("exit 0"))
    await cluster.delete(parent.metadata.name, parent.metadata.uid, "Background")
    child = await create(cluster, job(["sleep", "60"], owners=owned_by(parent)))
    await until(lambda: gone(cluster, child.metadata.name))


async def test_watch_lists_and_then_follows(cluster: Cluster) -> None:
    earlier = await create(cluster, shell("exit 0"))
    await ended(cluster, earlier.metadata.name)
    watch = cluster.watch()
    listed = await anext(watch)
    assert isinstance(listed, Listed)
    assert [view.metadata.name for view in listed.jobs] == [earlier.metadata.name]
    assert [pod.status.phase for pod in listed.pods] == ["Succeeded"]

    created = await create(cluster, shell("sleep 0.1; exit 5"))
    changes = await follow(watch, lambda change: isinstance(change.object, JobView) and change.object.ended)
    pods = [(c.kind, c.object.status.phase) for c in changes if isinstance(c.object, PodView)]
    assert pods[0] == ("ADDED", "Pending")
    assert pods[-2:] == [("MODIFIED", "Running"), ("MODIFIED", "Failed")]
    jobs = [c for c in changes if isinstance(c.object, JobView)]
    assert jobs[0].kind == "ADDED"
    assert {c.kind for c in jobs[1:]} == {"MODIFIED"}
    versions = [c.object.metadata.resource_version for c in changes]
    assert len(set(versions)) == len(versions)
    assert changes[-1].object == await cluster.get(created.metadata.name)

    await cluster.delete(created.metadata.name, created.metadata.uid, "Background")
    changes = await follow(watch, lambda c: c.kind == "DELETED" and isinstance(c.object, JobView))
    assert changes[0].object.metadata.deletion_timestamp
    assert [type(c.object) for c in changes if c.kind == "DELETED"] == [PodView, JobView]
    await watch.aclose()


async def follow(watch: AsyncIterator[Listed | Change], last: Callable[[Change], bool]) -> list[Change]:
    changes: list[Change] = []
    async with asyncio.timeout(10):
        async for change in watch:
            assert isinstance(change, Change)
            changes.append(change)
            if last(change):
                break
    return changes


async def test_everybody_sees_the_same(cluster: Cluster) -> None:
    one, two = cluster.watch(), cluster.watch()
    for watch in (one, two):
        assert isinstance(await anext(watch), Listed)
    await run(cluster, shell("exit 0"))

    def end(change: Change) -> bool:
        return isinstance(change.object, JobView) and change.object.ended

    assert await follow(one, end) == await follow(two, end)
    for watch in (one, two):
        await watch.aclose()


async def test_many_jobs_with_few_slots(cluster: Cluster) -> None:
    created = [await create(cluster, job([sys.executable, "-c", "pass"])) for _ in range(50)]
    views = [await ended(cluster, view.metadata.name) for view in created]
    assert all(view.condition("Complete") for view in views)
