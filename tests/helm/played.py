"""Installations that the chart made on API servers of their own, their pods played by processes."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from infra.services import Kubernetes
from nexus.config import Cassandra
from tests.e2e.client import NexusClient
from tests.e2e.installation import make_bucket
from tests.helm.installed import Release
from tests.support.cassandra import drop_keyspace
from tests.support.helm import QUICKSTART, Helm, container, pods
from tests.support.kube import Namespace
from tests.support.pods import Pod, mounts, pod
from tests.support.servers import S3Server

__all__ = ["BUCKET", "Installed", "Playing", "Servers", "Site", "algorithm", "workgroup"]

BUCKET = "nexus-s3-bucket"
_HOOKS = ("topics", "schema")
_GROUP = "science.sneaksanddata.com"


def algorithm(
    name: str,
    group: str,
    *,
    image: str = "tests",
    args: Sequence[str] = ("--sas-uri=%s", "--request-id=%s"),
    run_for: str = "3s",
    named: Sequence[object] = (),
) -> str:
    """A manifest; `named` is what its environment comes from."""
    spec = {
        "container": {"image": image, "registry": "registry.example.com", "versionTag": "1"},
        "command": "python main.py",
        "args": list(args),
        "computeResources": {"cpuLimit": "10m", "memoryLimit": "16Mi"},
        "workgroupRef": {"name": group, "group": f"{_GROUP}/v1", "kind": "NexusAlgorithmWorkgroup"},
        "runtimeEnvironment": {
            "deadlineSeconds": 600,
            "maximumRetries": 0,
            "annotations": {"sim.nexus.test/run-for": run_for},
            "mappedEnvironmentVariables": list(named),
        },
    }
    return _manifest("NexusAlgorithmTemplate", name, spec)


def workgroup(name: str, cluster: str) -> str:
    return _manifest("NexusAlgorithmWorkgroup", name, {"description": "of tests", "cluster": cluster})


def _manifest(kind: str, name: str, spec: object) -> str:
    whole = {"apiVersion": f"{_GROUP}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return f"---\n{yaml.safe_dump(whole)}"


class Servers(NamedTuple):
    """What every installation is on."""

    kafka: str
    cassandra: str
    s3: S3Server

    def values(self, name: str) -> dict[str, str]:
        """Upstream's quickstart, with names of one installation, and as few replicas as there are servers."""
        return QUICKSTART | {
            "scheduler.config.s3Buffer.payloadStoragePath": f"s3a://{BUCKET}/{name}",
            "config.kafka.servers": self.kafka.replace(",", "\\,"),
            "config.kafka.prefix": name,
            "config.kafka.replicas": "1",
            "config.kafka.min_insync_replicas": "1",
            "config.cassandra.keyspace": name,
            "config.cassandra.replicas": "1",
            "config.garbage.interval": "5s",
            "config.garbage.payload_retention": "1s",
            "config.log.run_partitions": "4",
            "config.log.request_partitions": "4",
            "hooks.development": "true",
        }

    @property
    def secrets(self) -> dict[str, dict[str, str]]:
        """With upstream's variables."""
        host, _, port = self.cassandra.partition(":")
        return {
            "nexus-s3": {
                "NEXUS__S3_BUFFER__ENDPOINT": self.s3.endpoint,
                "NEXUS__S3_BUFFER__ACCESS_KEY_ID": self.s3.access_key,
                "NEXUS__S3_BUFFER__SECRET_ACCESS_KEY": self.s3.secret_key,
                "NEXUS__S3_BUFFER__REGION": "us-east-1",
            },
            "nexus-cassandra": {
                "NEXUS__SCYLLA_CQL_STORE__HOSTS": host,
                "NEXUS__SCYLLA_CQL_STORE__PORT": port,
            },
        }

    def planned(self, site: Site, helm: Helm, mode: str, folder: Path, **more: str) -> Installed:
        """Named as its namespace; nothing of it is there yet."""
        values = self.values(site.there.name) | {"mode": mode, **more}
        release = Release(helm, site.server.kubeconfig, mode, values, namespace=site.there.name)
        return Installed(site, release, folder / "pods")

    async def make_bucket(self) -> None:
        variables = {
            "NEXUS_TEST_S3": self.s3.endpoint,
            "NEXUS_TEST_S3_ACCESS_KEY": self.s3.access_key,
            "NEXUS_TEST_S3_SECRET_KEY": self.s3.secret_key,
        }
        await make_bucket(variables, BUCKET)

    async def dead_letters(self, name: str) -> int:
        """How many records an installation could do nothing with."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await consumer.start()
        ends = await consumer.end_offsets([TopicPartition(f"{name}.dead-letters", 0)])
        await consumer.stop()
        return sum(ends.values())

    async def forget(self, name: str) -> None:
        """Remove what an installation of this name made."""
        await drop_keyspace(Cassandra(hosts=self.cassandra, keyspace=name))
        kafka = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await kafka.start()
        mine = [topic for topic in await kafka.list_topics() if topic.startswith(f"{name}.")]
        await kafka.delete_topics(mine)
        await kafka.close()


class Site:
    """A namespace of a cluster, as its administrator sees it, and the pods that are played there."""

    def __init__(self, server: Kubernetes, there: Namespace, helm: Helm) -> None:
        self.server = server
        self.there = there
        self._helm = helm

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self._helm.kubectl(self.server.kubeconfig, "-n", self.there.name, *arguments, given=given)

    async def make_secret(self, name: str, entries: Mapping[str, str]) -> None:
        """Or change it."""
        data = {key: base64.b64encode(value.encode()).decode() for key, value in entries.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        path = f"/api/v1/namespaces/{{}}/secrets/{name}?fieldManager=tests&force=true"
        await self.there.call("PATCH", path, body, "apply-patch+yaml")

    async def kubeconfig_of(self, account: str) -> str:
        """With the token that the chart made for it, as docs/installation.md does."""
        path = f"/api/v1/namespaces/{{}}/secrets/nexus-{account}"
        document = yaml.safe_load(self.server.kubeconfig.read_text())

        async def token() -> Any:
            return (await self.there.call("GET", path)).get("data", {}).get("token")

        granted = base64.b64decode(await NexusClient.until(token)).decode()
        document["users"][0]["user"] = {"token": granted}
        return yaml.safe_dump(document)


class Installed:
    """A release, and its pods by role."""

    def __init__(self, site: Site, release: Release, folder: Path) -> None:
        self.site = site
        self.release = release
        self.pods: dict[str, Pod] = {}
        self._folder = folder
        self._block = f"127.{random.randint(64, 126)}.{random.randint(0, 255)}"
        self._made = 0

    @property
    def specs(self) -> Mapping[str, Any]:
        return pods(self.release.rendered())

    async def pod(self, role: str) -> Pod:
        """A further one, which is not started."""
        self._made += 1
        name = f"nexus-{role}-{self._made}"
        address = f"{self._block}.{self._made}"
        return await pod(self.site.there, name, self.specs[role], self._folder / name, address)

    async def run_hooks(self) -> None:
        hooks = [await self.pod(hook) for hook in _HOOKS]
        await asyncio.gather(*(asyncio.to_thread(hook.finish) for hook in hooks))
        for hook in hooks:
            await hook.close()

    async def start(self) -> None:
        """A pod for each role. `until_ready` waits for them."""
        for role in self.specs:
            if role not in _HOOKS:
                self.pods[role] = await self.pod(role)
                self.pods[role].start()

    async def until_ready(self) -> None:
        for role, one in self.pods.items():
            await self._until_ready(role, one)

    async def _until_ready(self, role: str, one: Pod) -> None:
        probe = container(self.specs[role])["readinessProbe"]
        await NexusClient.until(partial(one.ready, probe), 240, 0.2)

    @asynccontextmanager
    async def replaced(self, role: str) -> AsyncIterator[None]:
        """As a Deployment does it: the new one is ready before the old one ends; in the body there are both."""
        old, new = self.pods[role], await self.pod(role)
        new.start()
        try:
            await self._until_ready(role, new)
        except BaseException:
            await new.close()
            raise
        self.pods[role] = new
        yield
        assert await asyncio.to_thread(old.stop) == 0, old.said()
        await old.close()

    async def mount(self) -> None:
        """What the kubelet does a while after a mounted Secret has changed."""
        for role, one in self.pods.items():
            await mounts(self.site.there, self.specs[role], one.folder)

    async def close(self) -> None:
        for one in self.pods.values():
            await one.close()


class Playing:
    """Where algorithms are that report to the receiver which an installation has by then."""

    def __init__(self, installed: Installed) -> None:
        self._installed = installed
        self.kubeconfig = installed.site.server.kubeconfig
        self.name = installed.site.there.name

    @property
    def receiver(self) -> Pod:
        return self._installed.pods["receiver"]
