"""A controller and two shards on three API servers, and a second installation beside them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from infra.services import Kubernetes
from tests.e2e.client import NexusClient
from tests.helm.accounts import Asked
from tests.helm.audit import heard
from tests.helm.fleet import Fleet, algorithms_of, further_shard, installed_fleet
from tests.helm.permissions import grants
from tests.helm.played import Installed, Servers, algorithm, workgroup
from tests.support.helm import Helm
from tests.support.kube import RESOURCES
from tests.support.servers import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

UPGRADED = ("ledger", "supervisor", "watcher", "scheduler", "receiver", "api")
"""Readers before writers."""
RUNS = int(os.environ.get("NEXUS_TEST_RUNS", "60"))
ON_A_SHARD = RUNS // 6
AWAY = int(os.environ.get("NEXUS_TEST_AWAY", "0"))
"""Seconds that a shard stays away, beside what the runs on the other one take."""
TEMPLATES = f"{RESOURCES}/nexusalgorithmtemplates"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(
    etcd: Kubernetes,
    helm: Helm,
    kafka_server: str,
    cassandra_server: str,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    async with installed_fleet(
        etcd, helm, Servers(kafka_server, cassandra_server, s3_server), folder
    ) as there:
        yield there


async def test_workgroups_choose_the_shard(fleet: Fleet) -> None:
    """Also that of a child whose parent runs on another one."""
    api = fleet.api
    parent = await api.submit("held-eu")
    runs = {
        cluster: set(await asyncio.gather(*(api.submit(f"brief-{cluster}") for _ in range(ON_A_SHARD))))
        for cluster in fleet.shards
    }
    await api.reached(parent, "running", 120)
    of_parent = {"parentRequest": {"requestId": parent, "algorithmName": "held-eu"}}
    child = await api.submit("brief-us", **of_parent)
    for run in {*runs["eu"], *runs["us"], child}:
        assert (await api.ended(run, 120))["stage"] == "COMPLETED"
    assert (await api.run(parent))["state"] == "running"
    runs["eu"].add(parent)
    runs["us"].add(child)
    for cluster, algorithms in fleet.algorithms.items():
        for run in {*runs["eu"], *runs["us"]}:
            assert len(algorithms.pods.get(run, ())) == (run in runs.get(cluster, ())), (cluster, run)
    await _report(fleet.shards["eu"], "held-eu", parent)
    assert (await api.ended(parent))["stage"] == "COMPLETED"


async def test_neither_installation_sees_what_is_of_the_other(fleet: Fleet) -> None:
    """On one broker, one keyspace server and in one bucket: runs, results, garbage."""
    large = {"pad": "x" * 100_000}
    mine = await fleet.api.submit("brief-eu", large, tag="same")
    theirs = await fleet.single_api.submit("brief-standalone", large, tag="same")
    sides = [(fleet.controller, fleet.api, mine, theirs), (fleet.single, fleet.single_api, theirs, mine)]
    for _, api, own, other in sides:
        assert (await api.ended(own, 120))["stage"] == "COMPLETED"
        assert (await api.http.get(f"/api/v1/runs/{other}")).status_code == 404
        seen = {run["requestId"] async for run in api.all_runs()}
        assert own in seen
        assert other not in seen
        results = (await api.http.get("/algorithm/v1/results/tags/same")).json()
        assert [result["requestId"] for result in results] == [own]
    for installed, api, own, _ in sides:

        async def swept(api: NexusClient = api, own: str = own) -> bool:
            return (await api.event_types(own)).count("PayloadCollected") == 2

        await api.until(swept, 60, 0.2)
        # Who swept what is of the other one would have said so of a run that it does not have.
        assert await fleet.servers.dead_letters(installed.site.there.name) == 0


async def test_a_template_of_kubectl_runs_on_its_shard(fleet: Fleet) -> None:
    """As it is made, as it is changed, and no more once it is deleted."""
    home, eu = fleet.home, fleet.shards["eu"]
    for image in ("tests", "changed"):
        given = algorithm("fresh", "eu", run_for="600s", image=image, args=["%s", "%s", f"--of={image}"])
        await asyncio.to_thread(home.kubectl, "apply", "-f", "-", given=given)
        await asyncio.to_thread(home.kubectl, "wait", "nat/fresh", "--for=condition=Ready")
        copy = await eu.site.there.call("GET", f"{TEMPLATES}/fresh")
        assert copy["spec"]["container"]["image"] == image
        run, job = await _job_with(fleet, f"registry.example.com/{image}:1")
        assert f"--of={image}" in job["args"]
        await _report(eu, "fresh", run)
        assert (await fleet.api.ended(run))["stage"] == "COMPLETED"
    await asyncio.to_thread(home.kubectl, "delete", "nat/fresh")
    assert await _gone(eu, f"{TEMPLATES}/fresh")

    assert "No valid configuration found for: fresh" in await _refused(fleet.api, "fresh")


async def test_one_shard_is_away_and_the_other_undisturbed(fleet: Fleet) -> None:
    api, server = fleet.api, fleet.shards["us"].site.server
    held = await api.submit("held-us")
    await api.reached(held, "running", 120)
    server.kill("apiserver")
    try:
        waiting = await asyncio.gather(*(api.submit("brief-us") for _ in range(ON_A_SHARD)))
        meanwhile = await asyncio.gather(*(api.submit("brief-eu") for _ in range(ON_A_SHARD)))
        for run in meanwhile:
            assert (await api.ended(run, 120))["stage"] == "COMPLETED"
        assert {(await api.run(run))["state"] for run in waiting} <= {"queued", "parked"}
        assert (await api.run(held))["state"] == "running"
        await asyncio.sleep(AWAY)
    finally:
        await asyncio.to_thread(server.start, "apiserver")
    for run in waiting:
        assert (await api.ended(run, 180))["stage"] == "COMPLETED"
        assert len(fleet.algorithms["us"].pods[run]) == 1
    await _report(fleet.shards["us"], "held-us", held)
    assert (await api.ended(held))["stage"] == "COMPLETED"


async def test_runs_go_through_while_one_cluster_is_upgraded(fleet: Fleet) -> None:
    """Role by role under load; for a while the old one and the new one work side by side.

    Each role has the rights, variables and files of its pod, and no others.
    """
    single, api = fleet.single, fleet.single_api
    before = single.specs["api"]
    single.release.values |= {"extraEnv[0].name": "RELEASE", "extraEnv[0].value": "new"}
    await asyncio.to_thread(single.release.run, "upgrade", "--no-hooks")
    assert single.specs["api"] != before
    await single.run_hooks()
    large = {"pad": "x" * 100_000}
    at_once = asyncio.Semaphore(16)

    async def submitted(number: int) -> str:
        async with at_once:
            return await api.submit("brief-standalone", large if number % 20 == 0 else {"number": number})

    runs: list[str] = []
    for role in UPGRADED:
        load = asyncio.gather(*map(submitted, range(-(-RUNS // len(UPGRADED)))))
        async with single.replaced(role):
            runs += await load
            if role == "api":
                await api.http.aclose()
                api.http = httpx.AsyncClient(base_url=single.pods["api"].url, timeout=30)
    await _went_well(fleet, runs)


async def test_a_third_shard_comes_and_one_goes(
    fleet: Fleet, etcd: Kubernetes, helm: Helm, tmp_path: Path
) -> None:
    """Without a restart, by what is in the Secrets of kubeconfigs; one that is none is named, and a run elsewhere goes on."""
    api = fleet.api
    held = await api.submit("held-eu")
    await api.reached(held, "running", 120)

    async def told() -> bool:
        answer = await fleet.controller.pods["scheduler"].http.get("/readyz")
        return answer.status_code == 200 and "shards/ap" in answer.text

    await fleet.mount(fleet.shards, ap="no kubeconfig")
    await api.until(told, 60, 0.2)
    async with further_shard(fleet, etcd, helm, tmp_path, "ap") as ap:
        await fleet.mount({**fleet.shards, "ap": ap})
        given = algorithms_of("ap")
        await asyncio.to_thread(fleet.home.kubectl, "apply", "-f", "-", given=given)
        run = await _accepted(api, "held-ap")
        await api.reached(run, "running", 120)
        await _report(fleet.shards["eu"], "held-ap", run)
        assert (await api.ended(run, 120))["stage"] == "COMPLETED"
        await asyncio.to_thread(fleet.home.kubectl, "wait", "nat/held-ap", "--for=condition=Ready")
        assert await ap.site.there.call("GET", f"{TEMPLATES}/held-ap")

        await fleet.mount({"eu": fleet.shards["eu"], "ap": ap})
        assert "Its cluster 'us' is not configured." in await _refused(api, "brief-us")
        assert (await api.ended(await api.submit("brief-eu"), 120))["stage"] == "COMPLETED"
        assert (await api.run(held))["state"] == "running"
        await fleet.mount(fleet.shards)
    await api.ended(await _accepted(api, "brief-us"), 120)
    await _report(fleet.shards["eu"], "held-eu", held)
    assert (await api.ended(held))["stage"] == "COMPLETED"


async def test_every_right_is_used_and_nothing_else_is_asked_for(fleet: Fleet) -> None:
    """By the audit logs of the API servers: who takes a rule from the chart takes one that a role needs."""
    await asyncio.gather(
        _life_of_runs(fleet.api, "eu"), _life_of_runs(fleet.single_api, "standalone"), _life_of_copies(fleet)
    )
    releases = {
        "controller": [fleet.controller],
        "shard": list(fleet.shards.values()),
        "single": [fleet.single],
    }
    await _until_empty(lambda: {mode: idle for mode, there in releases.items() if (idle := _idle(there))})
    for server in fleet.audited.values():
        answers: dict[bool, set[tuple[str, Asked]]] = {True: set(), False: set()}
        for each in heard(server.audit):
            answers[each.allowed].add((each.account, each.asked._replace(name="")))
        # One that was just started refuses for a moment what it allows.
        assert answers[False] - answers[True] == set()


async def test_the_controller_shows_what_it_does(fleet: Fleet) -> None:
    text = (await fleet.controller.pods["controller"].http.get("/metrics")).text
    found = {
        (sample.name, sample.labels.get("cluster", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("nexus_controller_") and sample.labels.get("outcome") != "failed"
    }
    assert found["nexus_controller_leads", ""] == 1
    for cluster in fleet.shards:
        assert found["nexus_controller_copies", cluster] > 0
        assert found["nexus_controller_writes_total", cluster] > 0
        assert found["nexus_controller_unreachable", cluster] == 0


async def test_every_role_ends_when_it_is_told_to(fleet: Fleet) -> None:
    """The last of these tests."""
    for installed in (fleet.controller, *fleet.shards.values(), fleet.single):
        ends = await asyncio.gather(*(asyncio.to_thread(each.stop) for each in installed.pods.values()))
        assert dict(zip(installed.pods, ends, strict=True)) == dict.fromkeys(installed.pods, 0)


def _idle(releases: list[Installed]) -> dict[str, set[Asked]]:
    """What accounts of these releases, which are of one mode, may do and have not done; by role."""
    idle = {}
    for role, given in grants(releases[0].release.rendered()).items():
        allowed = {each for grant in given for each in grant.allows()}
        unbound = {asked for grant in given if not grant.names for asked in grant.allows()}
        done = {
            plain if (plain := each.asked._replace(name="")) in unbound else each.asked
            for one in releases
            for each in heard(one.site.server.audit)
            if each.account == f"{one.release.namespace}:nexus-{role}"
        }
        if left := allowed - done:
            idle[role] = left
    return idle


async def _life_of_runs(api: NexusClient, cluster: str) -> None:
    """One that reports, one that does not, and one that is cancelled, without its child."""
    brief, silent, parent = [await api.submit(f"{kind}-{cluster}") for kind in ("brief", "silent", "held")]
    await api.reached(parent, "running", 120)
    child = await api.submit(
        f"brief-{cluster}", parentRequest={"requestId": parent, "algorithmName": f"held-{cluster}"}
    )
    ends = {run: (await api.ended(run, 120))["stage"] for run in (brief, silent, child)}
    assert ends == {brief: "COMPLETED", silent: "FAILED", child: "COMPLETED"}
    answer = await api.cancel(f"held-{cluster}", parent, cancellationPolicy="Orphan")
    assert answer.status_code == 200, answer.text
    for run in (brief, silent, child, parent):
        await api.collected(run)
    assert (await api.http.get("/api/v1/garbage")).status_code == 200


async def _went_well(fleet: Fleet, runs: Sequence[str]) -> None:
    """Each of these runs of `single` by one Job, which is collected."""
    api = fleet.single_api

    async def waiting() -> set[str]:
        return set(runs) - {run["requestId"] async for run in api.all_runs(stage="COMPLETED")}

    async def uncollected() -> set[str]:
        return {run["requestId"] async for run in api.all_runs() if not run["collectedAt"]}

    await api.until_none(waiting, 120)
    await api.until_none(uncollected, 120)
    assert len(set(runs)) == len(runs)
    jobs = fleet.algorithms["single"].pods
    assert {run: len(jobs[run]) for run in runs} == dict.fromkeys(runs, 1)


async def _report(installed: Installed, name: str, run: str) -> None:
    """As the algorithm does when it has ended."""
    path = f"/algorithm/v1/complete/{name}/requests/{run}"
    answer = await installed.pods["receiver"].http.post(path, json={"resultUri": f"s3://results/{run}"})
    assert answer.status_code == 202, answer.text


async def _accepted(api: NexusClient, name: str) -> str:
    """Submit until the API has heard that it may be; gives the run."""

    async def submitted() -> str | None:
        answer = await api.http.post(f"/algorithm/v1/run/{name}", json={"algorithmParameters": {}})
        return answer.json()["requestId"] if answer.status_code == 202 else None

    return await NexusClient.until(submitted, 120, 0.2)


async def _refused(api: NexusClient, name: str) -> str:
    """Submit until the API has heard that it may not be; gives the answer."""

    async def refused() -> str | None:
        answer = await api.http.post(f"/algorithm/v1/run/{name}", json={"algorithmParameters": {}})
        return answer.text if answer.status_code == 400 else None

    return await NexusClient.until(refused, 120, 0.2)


async def _job_with(fleet: Fleet, image: str) -> tuple[str, Any]:
    """Submit until the API has heard of this image; gives the run, and the container of its Job."""
    while True:
        run = await _accepted(fleet.api, "fresh")
        await fleet.api.reached(run, "running", 120)
        job = await fleet.shards["eu"].site.there.call("GET", f"/apis/batch/v1/namespaces/{{}}/jobs/{run}")
        [only] = job["spec"]["template"]["spec"]["containers"]
        if only["image"] == image:
            return run, only
        assert (await fleet.api.cancel("fresh", run)).status_code == 200


async def _life_of_copies(fleet: Fleet) -> None:
    """A template with what it names, and a workgroup: made, changed, and deleted."""
    names = [{"secretRef": {"name": "named"}}, {"configMapRef": {"name": "named"}}]
    home = fleet.home
    await home.make_secret("named", {"KEY": "one"})
    await asyncio.to_thread(home.kubectl, "create", "configmap", "named", "--from-literal=KEY=one")
    for named in (names, []):
        given = algorithm("copied", "copied", named=named) + workgroup("copied", "eu")
        await asyncio.to_thread(home.kubectl, "apply", "-f", "-", given=given)
        await asyncio.to_thread(home.kubectl, "wait", "nat/copied", "naw/copied", "--for=condition=Ready")
    await asyncio.to_thread(home.kubectl, "delete", "nat/copied", "naw/copied")
    for shard in fleet.shards.values():
        for path in (f"{TEMPLATES}/copied", "/api/v1/namespaces/{}/secrets/named"):
            assert await _gone(shard, path)


async def _gone(shard: Installed, path: str) -> bool:
    async def absent() -> bool:
        return await shard.site.there.call("GET", path) is None

    return await NexusClient.until(absent, 60, 0.1)


async def _until_empty(left: Any, seconds: float = 60) -> None:
    """Or say what is left."""

    async def none() -> bool:
        return not left()

    try:
        await NexusClient.until(none, seconds, 0.5)
    except AssertionError:
        raise AssertionError(left()) from None
