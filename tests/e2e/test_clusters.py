"""A Nexus whose clusters come, change and go while it runs: one process on a folder of kubeconfigs."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.installation import drop_namespace, make_namespace
from tests.e2e.nexus_process import NexusProcess

KWOK = Path(__file__).parent / "kwok"


class Mounted:
    """A folder of kubeconfigs as the kubelet mounts a Secret: each change swaps one link."""

    def __init__(self, folder: Path, **kubeconfigs: str) -> None:
        self.folder = folder
        self._keys = kubeconfigs
        folder.mkdir()
        self._write()

    def put(self, **kubeconfigs: str) -> None:
        self._keys |= kubeconfigs
        self._write()

    def take(self, name: str) -> str:
        kubeconfig = self._keys.pop(name)
        self._write()
        return kubeconfig

    def _write(self) -> None:
        fresh = self.folder / f"..{uuid.uuid4().hex}"
        fresh.mkdir()
        for key, text in self._keys.items():
            (fresh / f"{key}.kubeconfig").write_text(text)
        (self.folder / "..data_tmp").symlink_to(fresh.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        for key in self._keys:
            if not (self.folder / f"{key}.kubeconfig").is_symlink():
                (self.folder / f"{key}.kubeconfig").symlink_to(f"..data/{key}.kubeconfig")
        for link in self.folder.glob("*.kubeconfig"):
            if not link.exists():
                link.unlink()


@pytest.fixture
async def nexus(kubernetes_server: Path, tmp_path: Path) -> AsyncIterator[NexusProcess]:
    name = f"t{uuid.uuid4().hex[:8]}"
    await make_namespace(kubernetes_server, name)
    settings = {
        "placement__installation": name,
        "kubernetes__namespace": name,
        "supervision__linger": "1s",
        "supervision__reconcile_interval": "1s",
    }
    flags = [f"--kubeconfig={tmp_path / 'kubeconfigs'}"]
    nexus = NexusProcess(tmp_path / "state", KWOK, flags=flags, **settings)
    yield nexus
    assert nexus.stop() == 0
    await nexus.http.aclose()
    await drop_namespace(kubernetes_server, name)


async def refused(nexus: NexusProcess, algorithm: str) -> str | None:
    answer = await nexus.http.post(f"/algorithm/v1/run/{algorithm}", json={"algorithmParameters": {}})
    return answer.text if answer.status_code == 400 else None


async def completes(nexus: NexusProcess, algorithm: str, run: str) -> None:
    await nexus.until(lambda: has_job(nexus, run))
    path = f"/algorithm/v1/complete/{algorithm}/requests/{run}"
    assert (await nexus.http.post(path, json={"resultUri": "s3://results/1"})).status_code == 202
    assert (await nexus.ended(run))["stage"] == "COMPLETED"
    await nexus.collected(run)


async def has_job(nexus: NexusProcess, run: str) -> bool:
    return bool((await nexus.run(run))["jobUid"])


def with_token(kubeconfig: str, token: str) -> str:
    config = yaml.safe_load(kubeconfig)
    config["users"][0]["user"] = {"token": token}
    return yaml.safe_dump(config)


async def test_clusters_come_change_and_go_while_it_runs(nexus, kubernetes_server, tmp_path):
    good = kubernetes_server.read_text()
    mounted = Mounted(tmp_path / "kubeconfigs", standalone=good)
    await nexus.start()
    first = await nexus.submit("long", {})
    assert "Its cluster 'elsewhere' is not configured." in await refused(nexus, "elsewhere")

    # One that cannot be used: it says so, its runs wait, and all others go on.
    async def said(*words: str) -> bool:
        answer = await nexus.http.get("/readyz")
        return answer.status_code == 200 and all(word in answer.text for word in words)

    mounted.put(elsewhere="no kubeconfig")
    file = mounted.folder / "elsewhere.kubeconfig"
    await nexus.until(
        lambda: said("cannot reach the cluster elsewhere: the kubeconfig", f"{file} cannot be used")
    )
    waiting = await nexus.submit("elsewhere", {})
    await nexus.reached(first, "running")
    mounted.put(elsewhere=with_token(good, "expired"))
    await nexus.until(lambda: said("cannot reach the cluster elsewhere: ", "401: Unauthorized"))
    assert (await nexus.run(waiting))["state"] == "queued"

    # The right one is used from the next call on.
    mounted.put(elsewhere=good)
    await completes(nexus, "elsewhere", waiting)

    # One that is taken away is not asked any more, and ends nothing.
    mounted.take("standalone")
    assert "Its cluster 'standalone' is not configured." in await nexus.until(lambda: refused(nexus, "long"))
    assert (await nexus.run(first))["state"] == "running"
    await completes(nexus, "elsewhere", await nexus.submit("elsewhere", {}))
    mounted.put(standalone=good)
    await nexus.until(lambda: accepted(nexus))
    await completes(nexus, "long", first)
    log = [json.loads(line) for line in (nexus.state / "dev.out").read_text().splitlines() if line[0] == "{"]
    assert [line["cluster"] for line in log if line["event"] == "cluster_came"] == ["elsewhere", "standalone"]
    assert [line["cluster"] for line in log if line["event"] == "cluster_taken_away"] == ["standalone"]


async def accepted(nexus: NexusProcess) -> bool:
    return not await refused(nexus, "long")


async def test_a_namespace_that_is_not_there_is_named_and_taken_once_it_is(kubernetes_server, tmp_path):
    name = f"t{uuid.uuid4().hex[:8]}"
    settings = {"placement__installation": name, "kubernetes__namespace": name, "supervision__linger": "1s"}
    nexus = NexusProcess(tmp_path / "state", KWOK, flags=[f"--kubeconfig={kubernetes_server}"], **settings)
    await nexus.start()
    try:
        said = (await nexus.ended(await nexus.submit("long", {})))["diagnosis"]
        assert said["category"] == "NamespaceMissing"
        assert f'namespaces "{name}" not found' in said["cause"]
        assert "kubernetes.namespace" in said["hint"]
        await make_namespace(kubernetes_server, name)
        await completes(nexus, "long", await nexus.submit("long", {}))
    finally:
        ended = nexus.stop()
        await nexus.http.aclose()
        await drop_namespace(kubernetes_server, name)
    assert ended == 0


async def test_a_cordoned_cluster_finishes_what_it_has_and_starts_nothing(nexus, kubernetes_server, tmp_path):
    Mounted(tmp_path / "kubeconfigs", standalone=kubernetes_server.read_text())
    await nexus.start()

    def told(*arguments: str) -> str:
        done = nexus.command("clusters", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    running = await nexus.submit("long", {})
    await nexus.reached(running, "running")
    assert (
        json.loads(told("cordon", "standalone", "--reason", "an upgrade", "--json"))["reason"] == "an upgrade"
    )
    # In one process it is known at once, in others within a second or two.
    waiting = await nexus.submit("long", {})

    async def shown() -> dict[str, object] | None:
        [cluster] = (await nexus.http.get("/api/v1/clusters")).json()["clusters"]
        return cluster if cluster["queued"] == 1 else None

    cluster = await nexus.until(shown)
    assert (cluster["state"], cluster["running"], cluster["cordon"]["reason"]) == (
        "cordoned",
        1,
        "an upgrade",
    )
    assert cluster["kubernetes"].startswith("v1.")
    await completes(nexus, "long", running)
    assert (await nexus.run(waiting))["state"] == "queued"
    nexus.kill()
    await nexus.start()
    assert "standalone is cordoned since" in told()
    assert (await nexus.run(waiting))["state"] == "queued"
    told("uncordon", "standalone")
    await completes(nexus, "long", waiting)
    replayed = nexus.command("replay", "--topic", "nexus.clusters").stdout.splitlines()
    assert [json.loads(line)["type"] for line in replayed] == [
        "nexus.ClusterCordoned.v1",
        "nexus.ClusterUncordoned.v1",
    ]
    assert nexus.command("clusters", "cordon", "nowhere").returncode != 0
