"""Nexus on real Kafka, Cassandra, S3 and Kubernetes: nothing is played but the kubelet and the algorithms."""

from __future__ import annotations

import asyncio
import collections
import json
import random
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import httpx

from infra.services import Kubernetes
from infra.services.server import free_ports
from tests.e2e.installation import Algorithms, Installation, installed, jobs_of, make_namespace, prepared
from tests.support import imports

ROLES = ("ledger", "watcher", "supervisor", "scheduler", "receiver", "api")
SECONDS = 240.0


async def submit(nexus: Installation, count: int, seed: int = 0) -> set[str]:
    """The ids that were accepted; what was refused is sent again until it is, an answer that was lost is not counted."""
    chance = random.Random(seed)
    accepted: set[str] = set()
    free = asyncio.Semaphore(32)

    async def one(number: int) -> None:
        # One in twenty payloads is too large for the log.
        parameters = {"number": number, "pad": "x" * (100_000 if chance.random() < 0.05 else 100)}
        async with free:
            while True:
                with suppress(httpx.TransportError):
                    body = {"algorithmParameters": parameters, "tag": f"tag-{number % 10}"}
                    answer = await nexus.http.post("/algorithm/v1/run/brief", json=body)
                    if answer.status_code == 202:
                        accepted.add(answer.json()["requestId"])
                        return
                    assert answer.status_code == 503, answer.text
                    assert "Retry-After" in answer.headers
                await asyncio.sleep(0.5)

    await asyncio.gather(*(one(number) for number in range(count)))
    return accepted


async def all_ended(nexus: Installation, accepted: Iterable[str], *, completed: bool = True) -> None:
    """Not `completed` where the receiver was away: the pods here end whether or not they have been heard."""

    async def waiting() -> set[str]:
        runs = nexus.all_runs(stage="COMPLETED") if completed else nexus.all_runs()
        return set(accepted) - {run["requestId"] async for run in runs if run["state"] == "ended"}

    await nexus.until_none(waiting, SECONDS)


async def one_job_each(nexus: Installation, algorithms: Algorithms, accepted: Iterable[str]) -> list[str]:
    """What the cluster showed, what the log says, and what was announced. Gives the runs in the order of their Jobs."""
    assert {run: len(uids) for run, uids in algorithms.pods.items() if len(uids) > 1} == {}
    jobs = collections.defaultdict(set)
    for line in nexus.must("replay").splitlines():
        event = json.loads(line)
        if event["type"].startswith("nexus.JobCreated"):
            jobs[event["subject"]].add(event["data"]["jobUid"])
    assert {run: len(uids) for run, uids in jobs.items() if len(uids) > 1} == {}
    assert jobs.keys() >= set(accepted)

    async def announced() -> bool:
        said = collections.defaultdict(set)
        for line in nexus.must("results", "--from-beginning", "--no-follow", "--json").splitlines():
            event = json.loads(line)
            said[event["subject"]].add(event["id"])
        assert {run: len(ids) for run, ids in said.items() if len(ids) > 1} == {}
        return said.keys() >= set(accepted)

    await nexus.until(announced, SECONDS, pause=1)
    verified = json.loads(nexus.must("verify", "--json"))
    assert verified["differences"] == []
    return list(jobs)


async def all_collected(nexus: Installation) -> None:
    async def waiting() -> set[str]:
        return {
            run["requestId"] async for run in nexus.all_runs() if run["jobUid"] and not run["collectedAt"]
        }

    await nexus.until_none(waiting, SECONDS)


STORES = {"aiobotocore", "aiohttp", "aiokafka", "botocore", "cassandra"}
LOADED = {
    "api": STORES,
    "receiver": STORES,
    "ledger": {"aiokafka", "cassandra"},
    "scheduler": {"aiohttp", "aiokafka", "cassandra", "faust", "kubernetes"},
    "watcher": {"aiohttp", "aiokafka", "kubernetes"},
    "supervisor": imports.ENGINES,
}
"""What a role loads to speak with the servers that it asks, and no more."""


async def test_a_thousand_runs(there, tmp_path, monkeypatch):
    """One of two schedulers and ledgers is killed meanwhile. Its leftovers go ahead of younger requests.

    Each role has loaded by then what it needs for its part, and no more.
    """
    monkeypatch.setenv(imports.VARIABLE, "1")
    roles = (*ROLES, "ledger-2", "scheduler-2")
    async with installed(tmp_path, there, *roles, throttle__rate="40", throttle__burst="10") as (
        nexus,
        algorithms,
    ):
        first = await submit(nexus, 750)
        for name in ("scheduler", "ledger"):
            nexus.processes[name].kill()
        younger = await submit(nexus, 250, seed=1)
        await all_ended(nexus, first | younger)
        order = await one_job_each(nexus, algorithms, first | younger)
        half = order[: len(first) // 2]
        assert set(half) <= first
        tagged = (await nexus.http.get("/algorithm/v1/results/tags/tag-3")).json()
        assert len(tagged) == 100
        assert {run["status"] for run in tagged} == {"COMPLETED"}
        await all_collected(nexus)
        for role, libraries in LOADED.items():
            assert imports.imported(tmp_path / role / f"{role}.out") & imports.ENGINES == libraries, role


async def test_a_tree_across_two_clusters(there, tmp_path):
    """Its generations lie on two API servers by turns; the cancel reaches all, and leaves no Job on either."""
    second = Kubernetes(tmp_path / "second", free_ports(Kubernetes.usual_ports))
    await asyncio.to_thread(second.start)
    try:
        kubeconfigs = {
            "standalone": Path(there["NEXUS_TEST_KUBECONFIG"]),
            "elsewhere": Path(second.variables["NEXUS_TEST_KUBECONFIG"]),
        }
        folder = tmp_path / "kubeconfigs"
        folder.mkdir()
        for cluster, kubeconfig in kubeconfigs.items():
            shutil.copy(kubeconfig, folder / f"{cluster}.kubeconfig")
        async with prepared(tmp_path, there, kubernetes__kubeconfig=str(folder)) as nexus:
            await make_namespace(kubeconfigs["elsewhere"], nexus.name)
            await nexus.start(*ROLES)
            tree: list[str] = []
            named = ["long", "elsewhere", "long", "elsewhere"]
            for algorithm, above in zip(named, ["", *named], strict=False):
                parent = {"parentRequest": {"requestId": tree[-1], "algorithmName": above}} if tree else {}
                tree.append(await nexus.submit(algorithm, **parent))
                assert (await nexus.reached(tree[-1], "running"))["algorithm"] == algorithm
            jobs = [await jobs_of(each, nexus.name) for each in kubeconfigs.values()]
            assert jobs == [{tree[0], tree[2]}, {tree[1], tree[3]}]

            await nexus.cancel("long", tree[0], cancellationPolicy="Foreground")
            for parent, run_id in zip(["", *tree], tree, strict=False):
                assert (await nexus.ended(run_id))["stage"] == "CANCELLED"
                said = next(e["data"] for e in await nexus.events(run_id) if e["type"] == "RunCancelled")
                assert (said["reason"], said["initiator"]) == ("enough", "tests")
                assert said.get("withParent", "") == parent
            for run_id in tree:
                await nexus.collected(run_id)
            assert [await jobs_of(each, nexus.name) for each in kubeconfigs.values()] == [set(), set()]
    finally:
        await asyncio.to_thread(second.stop)


async def test_projections_are_made_anew_while_everything_goes_on(there, tmp_path):
    """Into a fresh keyspace, beside the ledger of the old one; then all roles switch."""
    async with installed(tmp_path, there, *ROLES) as (nexus, algorithms):
        before = await submit(nexus, 50)
        await all_ended(nexus, before)
        key = {"Idempotency-Key": "made before"}
        body = {"algorithmParameters": {"number": "claimed"}}
        claimed = (await nexus.http.post("/algorithm/v1/run/brief", json=body, headers=key)).json()

        submitting = asyncio.create_task(submit(nexus, 50, seed=1))
        fresh = f"{nexus.name}_2"
        nexus.must("rebuild", "--into", fresh)
        meanwhile = await submitting
        nexus.use(cassandra__keyspace=fresh, cassandra__claims_keyspace=nexus.name)
        await nexus.start_again(*ROLES)
        after = await submit(nexus, 20, seed=2)
        again = (await nexus.http.post("/algorithm/v1/run/brief", json=body, headers=key)).json()
        assert again == claimed

        every = before | meanwhile | after | {claimed["requestId"]}
        await all_ended(nexus, every, completed=False)
        await one_job_each(nexus, algorithms, every)
