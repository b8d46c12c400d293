"""Nexus on real servers, each role in a process of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Container, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiobotocore.session
import httpx
import msgspec
from aiokafka.admin import AIOKafkaAdminClient

from nexus.config import load
from nexus.domain.errors import NexusError
from nexus.domain.observed import PodView
from nexus.kubernetes.cluster import KubernetesCluster
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.credentials import from_kubeconfig
from nexus.ports import Change
from tests.e2e.client import NexusClient
from tests.e2e.nexus_process import NexusProcess
from tests.support.cassandra import drop_keyspaces

__all__ = [
    "BUCKET",
    "Algorithms",
    "Installation",
    "drop_namespace",
    "drop_topics",
    "installed",
    "jobs_of",
    "make_bucket",
    "make_namespace",
    "prepared",
]

TEMPLATES = Path(__file__).parent / "kwok"
BUCKET = "payloads"


class Installation(NexusClient):
    """One Nexus with names of its own on the servers, so that there may be others on them.

    `there` is how to reach the servers: the variables that `tests.support.servers` gives.
    """

    def __init__(self, folder: Path, there: Mapping[str, str], **settings: str) -> None:
        self.folder = folder
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self._there = there
        self.kubeconfig = Path(there["NEXUS_TEST_KUBECONFIG"])
        self.settings = {
            "kafka__servers": there["NEXUS_TEST_KAFKA"],
            "kafka__replicas": "1",
            "kafka__min_insync_replicas": "1",
            "kafka__prefix": self.name,
            "cassandra__hosts": there["NEXUS_TEST_CASSANDRA"],
            "cassandra__keyspace": self.name,
            "s3__endpoint": there["NEXUS_TEST_S3"],
            "s3__access_key": there["NEXUS_TEST_S3_ACCESS_KEY"],
            "s3__secret_key": there["NEXUS_TEST_S3_SECRET_KEY"],
            "s3__bucket": BUCKET,
            "s3__prefix": self.name,
            "kubernetes__kubeconfig": str(self.kubeconfig),
            "kubernetes__namespace": self.name,
            "cassandra__replicas": "1",
            "placement__installation": self.name,
            "payload__sign_secret": "a secret of tests, and of tests only",
            "log__run_partitions": "8",
            "log__request_partitions": "8",
            **settings,
        }
        self.processes: dict[str, NexusProcess] = {}
        self.api = self._process("api", "api")
        self.settings["http__external_url"] = self.api.url
        self.receiver = self._process("receiver", "receiver")
        super().__init__(self.api.url)

    def _process(self, name: str, role: str) -> NexusProcess:
        process = NexusProcess(self.folder / name, TEMPLATES, role, **self.settings)
        self.processes[name] = process
        return process

    async def prepare(self) -> None:
        """Make everything that it expects to be there."""
        await asyncio.gather(
            asyncio.to_thread(self.must, "topics", "--development"),
            asyncio.to_thread(self.must, "schema"),
        )
        await make_bucket(self._there, BUCKET)
        await make_namespace(self.kubeconfig, self.name)

    def must(self, *arguments: str) -> str:
        done = self.api.command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    async def start(self, *names: str) -> None:
        """Roles by name; `ledger-2` is a second ledger. All are ready when this returns."""
        for name in names:
            process = self.processes.get(name) or self._process(name, name.partition("-")[0])
            process.launch()
        await asyncio.gather(*(self.processes[name].ready() for name in names))

    def use(self, **settings: str) -> None:
        """For every process that is started from now on, and for commands."""
        self.settings |= settings
        for process in self.processes.values():
            process.use(**settings)

    async def start_again(self, *names: str) -> None:
        for name in names:
            self.processes[name].stop()
        await self.start(*names)

    async def close(self) -> None:
        for process in self.processes.values():
            with suppress(AssertionError):
                process.kill()
            await process.http.aclose()
        await self.http.aclose()

    async def remove(self) -> None:
        """Leave nothing behind that others on the same servers would carry along."""
        await drop_topics(self.settings["kafka__servers"], self.name)
        await drop_keyspaces(load(None, self.variables).cassandra, self.name)
        await drop_namespace(self.kubeconfig, self.name)

    @property
    def variables(self) -> dict[str, str]:
        """Its configuration, as the environment of its processes."""
        return {f"NEXUS__{key.upper()}": value for key, value in self.settings.items()}


async def drop_topics(servers: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        if mine := [name for name in await admin.list_topics() if name.startswith(f"{prefix}.")]:
            await admin.delete_topics(mine)
    finally:
        await admin.close()


async def make_bucket(there: Mapping[str, str], name: str) -> None:
    """`there` are the variables of the servers."""
    client = aiobotocore.session.get_session().create_client(
        "s3",
        endpoint_url=there["NEXUS_TEST_S3"],
        aws_access_key_id=there["NEXUS_TEST_S3_ACCESS_KEY"],
        aws_secret_access_key=there["NEXUS_TEST_S3_SECRET_KEY"],
        region_name="us-east-1",
    )
    async with client as s3:
        # Others may make it at the same time.
        with suppress(s3.exceptions.BucketAlreadyExists, s3.exceptions.BucketAlreadyOwnedByYou):
            await s3.create_bucket(Bucket=name)


async def make_namespace(kubeconfig: Path, name: str) -> None:
    connection = Connection("standalone", from_kubeconfig(kubeconfig))
    await connection.open()
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    answer = await connection.request("POST", "/api/v1/namespaces", msgspec.json.encode(body))
    assert answer.status == 201, answer.body
    # Pods are refused until the namespace has its service account.
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    while (await connection.request("GET", account)).status != 200:
        await asyncio.sleep(0.05)
    await connection.close()


async def drop_namespace(kubeconfig: Path, name: str) -> None:
    connection = Connection("standalone", from_kubeconfig(kubeconfig))
    await connection.open()
    await connection.request("DELETE", f"/api/v1/namespaces/{name}")
    await connection.close()


async def jobs_of(kubeconfig: Path, namespace: str) -> set[str]:
    """The names of the Jobs that are there."""
    connection = Connection("standalone", from_kubeconfig(kubeconfig))
    await connection.open()
    answer = await connection.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")
    await connection.close()
    return {job["metadata"]["name"] for job in msgspec.json.decode(answer.body)["items"]}


class Algorithms:
    """Plays the algorithms: reports a result for each pod that runs, again until it was heard; but for the `silent` ones."""

    def __init__(self, installation: Installation, silent: Container[str] = ()) -> None:
        self._installation = installation
        self._silent = silent
        self.reported: set[str] = set()
        self.pods: dict[str, set[str]] = {}
        """The uids of each run's Jobs, as its pods name them."""

    async def run(self) -> None:
        """Until cancelled."""
        connection = Connection("standalone", from_kubeconfig(self._installation.kubeconfig))
        await connection.open()
        cluster = KubernetesCluster("standalone", connection, self._installation.name)
        try:
            async with asyncio.TaskGroup() as reports:
                while True:
                    with suppress(NexusError):
                        async for seen in cluster.watch():
                            pods = [seen.object] if isinstance(seen, Change) else seen.pods
                            for pod in pods:
                                if isinstance(pod, PodView):
                                    self._see(pod, reports)
                    await asyncio.sleep(0.2)
        finally:
            await connection.close()

    def _see(self, pod: PodView, reports: asyncio.TaskGroup) -> None:
        labels = pod.metadata.labels
        run = labels["batch.kubernetes.io/job-name"]
        self.pods.setdefault(run, set()).add(labels["batch.kubernetes.io/controller-uid"])
        algorithm = labels["science.sneaksanddata.com/algorithm-template-name"]
        if algorithm in self._silent:
            return
        if pod.status.phase in {"Running", "Succeeded"} and run not in self.reported:
            self.reported.add(run)
            reports.create_task(self._report(algorithm, run))

    async def _report(self, algorithm: str, run: str) -> None:
        path = f"/algorithm/v1/complete/{algorithm}/requests/{run}"
        while True:
            with suppress(httpx.TransportError):
                answer = await self._installation.receiver.http.post(
                    path, json={"resultUri": f"s3://results/{run}"}
                )
                if answer.status_code == 202:
                    return
            await asyncio.sleep(0.2)


@asynccontextmanager
async def prepared(folder: Path, there: Mapping[str, str], **settings: str) -> AsyncIterator[Installation]:
    """A Nexus of which nothing runs yet."""
    nexus = Installation(folder, there, **settings)
    try:
        await nexus.prepare()
        yield nexus
    finally:
        await nexus.close()
    await nexus.remove()


@asynccontextmanager
async def installed(
    folder: Path, there: Mapping[str, str], *roles: str, **settings: str
) -> AsyncIterator[tuple[Installation, Algorithms]]:
    """A Nexus with these roles, and the algorithms that it runs."""
    async with prepared(folder, there, **settings) as nexus:
        await nexus.start(*roles)
        algorithms = Algorithms(nexus)
        playing = asyncio.create_task(algorithms.run())
        try:
            yield nexus, algorithms
        finally:
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing
