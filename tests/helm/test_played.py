"""An installation that the chart made, its pods played by processes with what their specifications give them."""

from __future__ import annotations

import asyncio
import base64
import random
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient

from nexus.config import Cassandra
from tests.e2e.client import NexusClient
from tests.e2e.installation import TEMPLATES, Algorithms, make_bucket
from tests.helm.installed import Release, definitions
from tests.helm.test_permissions import admin
from tests.support.cassandra import drop_keyspace
from tests.support.helm import QUICKSTART, SHAPES, Helm, container, pods
from tests.support.kube import RESOURCES, Namespace
from tests.support.pods import Pod, pod
from tests.support.servers import S3Server

RUNS = 200
HOOKS = ("topics", "schema")


class Played(NamedTuple):
    """A release whose pods run. The first three are what algorithms need."""

    kubeconfig: Path
    name: str
    receiver: Pod
    pods: Mapping[str, Pod]
    client: NexusClient


@pytest.fixture
def values(kafka_server: str) -> dict[str, str]:
    """Upstream's quickstart, with names of this test alone, and as few replicas as there are servers."""
    own = f"t{uuid.uuid4().hex[:8]}"
    return QUICKSTART | {
        "config.kafka.servers": kafka_server.replace(",", "\\,"),
        "config.kafka.prefix": own,
        "config.kafka.replicas": "1",
        "config.kafka.min_insync_replicas": "1",
        "config.cassandra.keyspace": own,
        "config.cassandra.replicas": "1",
        "config.log.run_partitions": "4",
        "config.log.request_partitions": "4",
        "hooks.development": "true",
    }


@pytest.fixture
def secrets(s3_server: S3Server, cassandra_server: str) -> dict[str, dict[str, str]]:
    """With upstream's variables."""
    host, _, port = cassandra_server.partition(":")
    return {
        "nexus-s3": {
            "NEXUS__S3_BUFFER__ENDPOINT": s3_server.endpoint,
            "NEXUS__S3_BUFFER__ACCESS_KEY_ID": s3_server.access_key,
            "NEXUS__S3_BUFFER__SECRET_ACCESS_KEY": s3_server.secret_key,
            "NEXUS__S3_BUFFER__REGION": "us-east-1",
        },
        "nexus-cassandra": {
            "NEXUS__SCYLLA_CQL_STORE__HOSTS": host,
            "NEXUS__SCYLLA_CQL_STORE__PORT": port,
        },
    }


@pytest.fixture
async def on_servers(
    values: Mapping[str, str], kafka_server: str, cassandra_server: str, s3_server: S3Server
) -> AsyncIterator[None]:
    """The bucket is there; what the installation makes on the servers goes with it."""
    variables = {
        "NEXUS_TEST_S3": s3_server.endpoint,
        "NEXUS_TEST_S3_ACCESS_KEY": s3_server.access_key,
        "NEXUS_TEST_S3_SECRET_KEY": s3_server.secret_key,
    }
    await make_bucket(variables, "nexus-s3-bucket")
    yield
    keyspace = values["config.cassandra.keyspace"]
    await drop_keyspace(Cassandra(hosts=cassandra_server, keyspace=keyspace))
    kafka = AIOKafkaAdminClient(bootstrap_servers=kafka_server)
    await kafka.start()
    await kafka.delete_topics([name for name in await kafka.list_topics() if name.startswith(f"{keyspace}.")])
    await kafka.close()


@asynccontextmanager
async def played(
    releases: Sequence[Release], secrets: Mapping[str, Mapping[str, str]], cluster: str, folder: Path
) -> AsyncIterator[Played]:
    """Install them in turn, run what the hooks run, then a pod for each role; all of them are ready.

    Of a shard, the kubeconfig of its account for schedulers goes into the Secret of the release that comes after it.
    """
    helm, kubeconfig, name = releases[0].helm, releases[0].kubeconfig, releases[0].namespace
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(definitions, helm, kubeconfig)
        await asyncio.to_thread(releases[0].make_namespace)
        there = await stack.enter_async_context(admin(releases[0]))
        stack.push_async_callback(_let_go, there)
        for secret, entries in secrets.items():
            await _make_secret(there, secret, entries)
        for release in releases:
            stack.push_async_callback(asyncio.to_thread, release.remove)
            await asyncio.to_thread(release.install)
            if release.mode == "shard":
                token = await there.call(
                    "GET", f"/api/v1/namespaces/{{}}/secrets/{release.name}-remote-scheduler"
                )
                document = yaml.safe_load(kubeconfig.read_text())
                document["users"][0]["user"] = {"token": base64.b64decode(token["data"]["token"]).decode()}
                await _make_secret(there, "nexus-workers", {cluster: yaml.safe_dump(document)})
        for manifest in sorted(TEMPLATES.glob("*.yaml")):
            resources = manifest.read_text().replace("cluster: standalone", f"cluster: {cluster}")
            await asyncio.to_thread(releases[0].kubectl, "apply", "-n", name, "-f", "-", given=resources)
        running: dict[str, Pod] = {}
        specs = {role: spec for release in releases for role, spec in pods(release.rendered()).items()}
        block = f"127.{random.randint(64, 126)}.{random.randint(0, 255)}"
        for number, (role, spec) in enumerate(specs.items(), 1):
            running[role] = await pod(there, f"nexus-{role}-0", spec, folder / role, f"{block}.{number}")
            stack.push_async_callback(running[role].close)
        await asyncio.gather(*(asyncio.to_thread(running.pop(hook).finish) for hook in HOOKS))
        for one in running.values():
            one.start()
        client = NexusClient(running["api"].url)
        stack.push_async_callback(client.http.aclose)
        for role, one in running.items():
            probe = container(specs[role])["readinessProbe"]
            await client.until(partial(one.ready, probe), 120, 0.2)
        yield Played(kubeconfig, name, running["receiver"], running, client)


async def _make_secret(there: Namespace, name: str, entries: Mapping[str, str]) -> None:
    secret = {"metadata": {"name": name}, "stringData": dict(entries)}
    await there.call("POST", "/api/v1/namespaces/{}/secrets", secret)


async def _let_go(there: Namespace) -> None:
    """The controller holds what it syncs, and is gone by now."""
    for plural in ("nexusalgorithmtemplates", "nexusalgorithmworkgroups"):
        at = f"{RESOURCES}/{plural}"
        for found in (await there.call("GET", at))["items"]:
            await there.merge(f"{at}/{found['metadata']['name']}", {"metadata": {"finalizers": None}})


async def _runs_go_through(nexus: Played, count: int) -> None:
    algorithms = Algorithms(nexus)
    reporting = asyncio.create_task(algorithms.run())
    large = {"pad": "x" * 100_000}
    at_once = asyncio.Semaphore(16)

    async def submitted(number: int) -> str:
        async with at_once:
            return await nexus.client.submit("brief", large if number % 20 == 0 else {"number": number})

    runs = set(await asyncio.gather(*map(submitted, range(count))))

    async def waiting() -> set[str]:
        return runs - {run["requestId"] async for run in nexus.client.all_runs(stage="COMPLETED")}

    async def uncollected() -> set[str]:
        return {run["requestId"] async for run in nexus.client.all_runs() if not run["collectedAt"]}

    await nexus.client.until_none(waiting, 120)
    await nexus.client.until_none(uncollected, 120)
    assert algorithms.pods.keys() == runs
    assert all(len(jobs) == 1 for jobs in algorithms.pods.values())
    reporting.cancel()
    with suppress(asyncio.CancelledError):
        await reporting
    assert {role: one.stop() for role, one in nexus.pods.items()} == dict.fromkeys(nexus.pods, 0)


async def test_runs_go_through_one_cluster(
    helm: Helm, kubernetes_server: Path, values, secrets, on_servers, tmp_path
):
    """By upstream's quickstart; each role has the rights, variables and files of its pod, and no others."""
    release = Release(helm, kubernetes_server, "single", values, enforced="privileged")
    async with played([release], secrets, "standalone", tmp_path) as nexus:
        await _runs_go_through(nexus, RUNS)


async def test_runs_go_through_a_controller_and_a_shard(
    helm: Helm, kubernetes_server: Path, values, secrets, on_servers, tmp_path
):
    """What is beside the Jobs has the account that it has there; a kubeconfig is all that schedulers know of the shard.

    Both are in one namespace here, so that the controller, which syncs no cluster with itself, has nothing to do.
    """
    of_shard = values | {"mode": "shard", "config.cluster.name": "eu"}
    shard = Release(helm, kubernetes_server, "shard", of_shard, name="nexus-eu", enforced="privileged")
    of_controller = values | {"mode": "controller", "config.http.external_url": "https://nexus.example.com"}
    controller = Release(helm, kubernetes_server, "controller", of_controller, namespace=shard.namespace)
    async with played([shard, controller], secrets, "eu", tmp_path) as nexus:
        assert nexus.pods.keys() == {
            *("receiver", "watcher", "supervisor"),
            *("api", "scheduler", "ledger", "controller"),
        }
        await _runs_go_through(nexus, 40)


def test_a_shard_knows_no_cluster_but_its_own(helm: Helm):
    """Nor is any kubeconfig mounted beside its Jobs."""
    for role, spec in pods(helm.template(SHAPES["shard"])).items():
        assert [volume["name"] for volume in spec["volumes"]] == ["tmp"], role
        assert "kubeconfig" not in yaml.safe_dump(spec).lower()
