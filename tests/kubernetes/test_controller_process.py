"""`nexus controller` as processes: one leads, and whoever dies is followed by another."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.services.kubernetes.beside import ClusterBeside
from tests.e2e.nexus_process import NexusProcess
from tests.kubernetes.synced import TEMPLATE, Clusters, clusters, get, naming
from tests.support import imports

LEASE = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/tests-controller"


@pytest.fixture
async def synced(shard_servers: tuple[ClusterBeside, ...]) -> AsyncIterator[Clusters]:
    async with clusters(shard_servers, f"test-{uuid.uuid4().hex[:12]}") as there:
        yield there


@pytest.fixture
async def replicas(
    synced: Clusters,
    shard_servers: tuple[ClusterBeside, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[list[NexusProcess]]:
    """Two, neither of which runs yet; the names of the kubeconfigs are those of a mounted secret."""
    monkeypatch.setenv(imports.VARIABLE, "1")
    home, *shards = shard_servers
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, server in zip(synced.shards, shards, strict=True):
        shutil.copy(server.kubeconfig, folder / f"{name}.kubeconfig")
    settings = {
        "templates__source": "kubernetes",
        "templates__kubeconfig": str(home.kubeconfig),
        "kubernetes__kubeconfig": str(folder),
        "kubernetes__namespace": synced.home.name,
        "placement__installation": "tests",
    }
    processes = [
        NexusProcess(tmp_path / str(number), tmp_path, "controller", **settings) for number in (1, 2)
    ]
    yield processes
    for process in processes:
        process.kill()
        await process.http.aclose()


async def test_another_one_goes_on_when_the_leader_is_killed(
    synced: Clusters, replicas: list[NexusProcess]
) -> None:
    first, second = replicas
    await first.start()
    await synced.put("Secret", "s", {"data": {"a": "YQ=="}})
    await synced.template("alg", naming("s"))
    await synced.ready(TEMPLATE, "alg")
    await second.start()
    for number in range(40):
        await synced.template(f"many-{number}", naming("s"))
    await synced.until(lambda: get(synced.shards["eu"], TEMPLATE, "many-0"))
    first.kill()  # in the middle of the others
    await synced.template("alg", naming() | {"command": "other"})
    await synced.delete(TEMPLATE, "many-39")

    async def led() -> bool:
        return (await synced.home.call("GET", LEASE))["spec"]["leaseTransitions"] == 2

    await synced.until(led)
    await synced.ready(TEMPLATE, "alg")
    await asyncio.gather(*(synced.ready(TEMPLATE, f"many-{number}") for number in range(39)))
    for there in synced.shards.values():
        assert (await get(there, TEMPLATE, "alg"))["spec"]["command"] == "other"
        owners = (await get(there, "Secret", "s"))["metadata"]["ownerReferences"]
        assert {owner["name"] for owner in owners} == {f"many-{number}" for number in range(39)}
    await synced.gone(TEMPLATE, "many-39")
    assert second.stop() == 0
    loaded = imports.imported(second.state / "controller.out") & imports.ENGINES
    assert loaded == {"aiohttp", "kubernetes"}, "a controller asks clusters, and nothing else"


async def test_a_controller_that_knows_no_cluster_says_what_to_set(tmp_path: Path) -> None:
    process = NexusProcess(tmp_path, tmp_path, "controller")
    done = await asyncio.to_thread(process.command, "controller")
    assert done.returncode == 2
    assert "set templates.kubeconfig, or templates.in_cluster" in done.stderr
    await process.http.aclose()
