"""What the embedded cluster makes of a Job's command. Commands need `sh` and `python` and nothing else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nexus.embedded.cluster.local import LocalCluster
from tests.contract.clusters import (
    Manifest,
    create,
    ended,
    failure,
    gone,
    local_cluster,
    manifest,
    run,
    until,
)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(tmp_path) as cluster:
        yield cluster


def job(command: list[str], *args: str, **spec: Any) -> Manifest:
    """`env`, `env_from` and `memory` go where they belong."""
    container: dict[str, Any] = {"command": command, "args": list(args)}
    if env := spec.pop("env", None):
        container["env"] = env
    if env_from := spec.pop("env_from", None):
        container["envFrom"] = env_from
    if memory := spec.pop("memory", None):
        container["resources"] = {"limits": {"memory": memory, "cpu": "1"}}
    return manifest(container, **spec)


def shell(script: str, **spec: Any) -> Manifest:
    return job(["sh", "-c"], script, **spec)


async def test_the_log_and_the_events(cluster: LocalCluster) -> None:
    view, (pod,) = await run(cluster, shell("echo out; echo err >&2"))
    assert await cluster.log_tail(pod.metadata.name, 1000) == "out\nerr\n"
    assert await cluster.log_tail(pod.metadata.name, 4) == "err\n"
    reasons = [event.partition(":")[0] for event in await cluster.events(view.metadata.name)]
    assert reasons == ["SuccessfulCreate", "Scheduled", "Started", "Completed"]


async def test_arguments_and_environment_arrive_as_they_are(cluster: LocalCluster) -> None:
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


async def test_retries_until_the_backoff_limit(cluster: LocalCluster) -> None:
    view, pods = await run(cluster, shell("echo boom; exit 3", backoffLimit=2))
    assert failure(view) == ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert view.status.failed == 3
    assert len({pod.metadata.name for pod in pods}) == 3
    for pod in pods:
        assert pod.status.phase == "Failed"
        assert pod.terminated
        assert (pod.terminated.exit_code, pod.terminated.reason) == (3, "Error")
        assert pod.terminated.message == "boom\n"


async def test_a_later_attempt_may_succeed(cluster: LocalCluster, tmp_path: Path) -> None:
    view, pods = await run(cluster, shell(f"mkdir {tmp_path}/tried && exit 1; exit 0", backoffLimit=6))
    assert view.condition("Complete")
    assert (view.status.succeeded, view.status.failed) == (1, 1)
    assert [pod.status.phase for pod in pods] == ["Failed", "Succeeded"]


async def test_an_ignored_exit_code_is_tried_again_until_the_deadline(cluster: LocalCluster) -> None:
    policy = {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}}]}
    view, pods = await run(cluster, shell("exit 9", activeDeadlineSeconds=1, podFailurePolicy=policy))
    assert failure(view) == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert len(pods) > 1
    assert view.status.failed <= 1


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command"])
async def test_a_command_that_is_not_there(cluster: LocalCluster, command: str) -> None:
    view, (pod,) = await run(cluster, job([command]))
    assert failure(view)[0] == "BackoffLimitExceeded"
    assert pod.status.phase == "Failed"
    assert pod.terminated
    assert (pod.terminated.reason, pod.terminated.exit_code) == ("StartError", 128)
    assert f'exec: "{command}": ' in pod.terminated.message
    assert await cluster.log_tail(pod.metadata.name, 100) == ""


async def test_memory_limit(cluster: LocalCluster) -> None:
    script = "import time; data = bytearray(300_000_000); time.sleep(60)"
    view, (pod,) = await run(cluster, job(["python", "-c", script], memory="100Mi"))
    assert failure(view)[0] == "BackoffLimitExceeded"
    assert pod.terminated
    assert (pod.terminated.exit_code, pod.terminated.reason) == (137, "OOMKilled")


async def test_killed_by_a_signal(cluster: LocalCluster) -> None:
    _, (pod,) = await run(cluster, shell("kill -9 $$"))
    assert pod.terminated
    assert (pod.terminated.exit_code, pod.terminated.reason) == (137, "Error")


async def test_the_message_of_a_failure_is_the_end_of_its_log(cluster: LocalCluster) -> None:
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
    cluster: LocalCluster, source: dict[str, Any], missing: str
) -> None:
    created = await create(cluster, shell("exit 0", activeDeadlineSeconds=1, **source))
    name = created.metadata.name

    async def look() -> str | None:
        (pod,) = await cluster.pods(name)
        waiting = pod.waiting
        return waiting.message if waiting and waiting.reason == "CreateContainerConfigError" else None

    assert await until(look) == missing
    assert failure(await ended(cluster, name))[0] == "DeadlineExceeded"


async def test_deletion_while_pending(cluster: LocalCluster, tmp_path: Path) -> None:
    for _ in range(2):
        await create(cluster, job(["sleep", "60"]))
    waiting = await create(cluster, shell(f"touch {tmp_path}/ran"))
    (pod,) = await cluster.pods(waiting.metadata.name)
    assert pod.status.phase == "Pending"
    assert await cluster.delete(waiting.metadata.name, waiting.metadata.uid, "Background")
    await until(lambda: gone(cluster, waiting.metadata.name))
    assert not (tmp_path / "ran").exists()


async def test_many_jobs_with_few_slots(cluster: LocalCluster) -> None:
    created = [await create(cluster, job([sys.executable, "-c", "pass"])) for _ in range(50)]
    views = [await ended(cluster, view.metadata.name) for view in created]
    assert all(view.condition("Complete") for view in views)
