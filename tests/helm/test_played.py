"""An installation that the chart made, its pods played by processes with what their specifications give them."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient

from nexus.config import Cassandra
from tests.e2e.client import NexusClient
from tests.e2e.installation import TEMPLATES, Algorithms, make_bucket
from tests.helm.installed import Release, definitions
from tests.helm.test_permissions import admin
from tests.support.cassandra import drop_keyspace
from tests.support.helm import QUICKSTART, Helm, pods
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
def values(kafka_server: str, s3_server: S3Server, cassandra_server: str) -> dict[str, str]:
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
async def cleaned(values: Mapping[str, str], kafka_server: str, cassandra_server: str) -> AsyncIterator[None]:
    """What the installation made on the servers goes with it."""
    yield
    keyspace = values["config.cassandra.keyspace"]
    await drop_keyspace(Cassandra(hosts=cassandra_server, keyspace=keyspace))
    kafka = AIOKafkaAdminClient(bootstrap_servers=kafka_server)
    await kafka.start()
    await kafka.delete_topics([name for name in await kafka.list_topics() if name.startswith(f"{keyspace}.")])
    await kafka.close()


@asynccontextmanager
async def played(
    helm: Helm,
    kubeconfig: Path,
    values: Mapping[str, str],
    secrets: Mapping[str, Mapping[str, str]],
    folder: Path,
) -> AsyncIterator[Played]:
    """Install, run what the hooks run, then a pod for each role; all of them are ready."""
    release = Release(helm, kubeconfig, "single", values, enforced="privileged")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, release.remove)
        await asyncio.to_thread(definitions, helm, kubeconfig)
        await asyncio.to_thread(release.make_namespace)
        there = await stack.enter_async_context(admin(release))
        for name, entries in secrets.items():
            secret = {"metadata": {"name": name}, "stringData": entries}
            await there.call("POST", "/api/v1/namespaces/{}/secrets", secret)
        await asyncio.to_thread(release.install)
        for manifest in sorted(TEMPLATES.glob("*.yaml")):
            await asyncio.to_thread(release.kubectl, "apply", "-n", release.namespace, "-f", str(manifest))
        running: dict[str, Pod] = {}
        specs = pods(release.rendered())
        block = f"127.{random.randint(64, 126)}.{random.randint(0, 255)}"
        for number, (role, spec) in enumerate(specs.items(), 1):
            running[role] = await pod(there, f"nexus-{role}-0", spec, folder / role, f"{block}.{number}")
            stack.push_async_callback(running[role].close)
        await asyncio.gather(*(asyncio.to_thread(running.pop(hook).finish) for hook in HOOKS))
        for role in running.values():
            role.start()
        client = NexusClient(running["api"].url)
        stack.push_async_callback(client.http.aclose)
        for role, one in running.items():
            await client.until(lambda one=one, role=role: one.ready(_probe(specs[role])), 120, 0.2)
        yield Played(kubeconfig, release.namespace, running["receiver"], running, client)


def _probe(spec: Any) -> Any:
    [container] = spec["containers"]
    return container["readinessProbe"]


async def test_runs_go_through_an_installation(
    helm: Helm, kubernetes_server: Path, values, secrets, cleaned, s3_server: S3Server, tmp_path
):
    """Of upstream's quickstart; each role has the rights, variables and files of its pod, and no others."""
    await make_bucket(
        {
            "NEXUS_TEST_S3": s3_server.endpoint,
            "NEXUS_TEST_S3_ACCESS_KEY": s3_server.access_key,
            "NEXUS_TEST_S3_SECRET_KEY": s3_server.secret_key,
        },
        "nexus-s3-bucket",
    )
    async with played(helm, kubernetes_server, values, secrets, tmp_path) as nexus:
        algorithms = Algorithms(nexus)
        reporting = asyncio.create_task(algorithms.run())
        large = {"pad": "x" * 100_000}
        at_once = asyncio.Semaphore(16)

        async def submitted(number: int) -> str:
            async with at_once:
                return await nexus.client.submit("brief", large if number % 20 == 0 else {"number": number})

        runs = set(await asyncio.gather(*map(submitted, range(RUNS))))
        assert len(runs) == RUNS

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


def test_the_secret_of_the_account_is_all_that_a_pod_knows_of_its_cluster(helm: Helm):
    """No kubeconfig is mounted where Jobs run on the same cluster."""
    for role, spec in pods(helm.template(QUICKSTART)).items():
        assert [volume["name"] for volume in spec["volumes"]] == ["tmp"], role
        assert "kubeconfig" not in yaml.safe_dump(spec).lower()
