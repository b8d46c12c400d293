"""Nexus on real servers, each role in a process of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiobotocore.session
import httpx
import msgspec
from aiokafka.admin import AIOKafkaAdminClient

from infra.services import S3, Cassandra, Kafka, Kubernetes, Server
from infra.services.server import free_ports
from nexus.domain.errors import NexusError
from nexus.domain.observed import PodView
from nexus.kubernetes.cluster import KubernetesCluster
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.credentials import from_kubeconfig
from nexus.ports import Change
from tests.e2e.client import NexusClient
from tests.e2e.nexus_process import NexusProcess

__all__ = [
    "Algorithms",
    "Installation",
    "Servers",
    "installed",
    "jobs_of",
    "make_bucket",
    "make_namespace",
    "prepared",
]

TEMPLATES = Path(__file__).parent / "kwok"
BUCKET = "payloads"


class Servers:
    """Servers of our own, to be killed at will."""

    def __init__(self, folder: Path) -> None:
        self.kafka = Kafka(folder / "kafka", free_ports(Kafka.usual_ports))
        self.cassandra = Cassandra(folder / "cassandra", free_ports(Cassandra.usual_ports))
        self.s3 = S3(folder / "s3", free_ports(S3.usual_ports))
        self.kubernetes = Kubernetes(folder / "kubernetes", free_ports(Kubernetes.usual_ports))

    @property
    def all(self) -> Sequence[Server]:
        return self.kafka, self.cassandra, self.s3, self.kubernetes

    @property
    def variables(self) -> dict[str, str]:
        return {name: value for server in self.all for name, value in server.variables.items()}

    async def start(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in self.all))

    async def stop(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in self.all))


class Installation(NexusClient):
    """One Nexus with names of its own on the servers, but for its topics: there is one at a time."""

    def __init__(self, folder: Path, servers: Servers, **settings: str) -> None:
        self.folder = folder
        self.servers = servers
        self.name = f"t{uuid.uuid4().hex[:8]}"
        there = servers.variables
        self.kubeconfig = Path(there["NEXUS_TEST_KUBECONFIG"])
        self.settings = {
            "kafka__servers": there["NEXUS_TEST_KAFKA"],
            "kafka__replicas": "1",
            "kafka__min_insync_replicas": "1",
            "cassandra__hosts": there["NEXUS_TEST_CASSANDRA"],
            "cassandra__keyspace": self.name,
            "s3__endpoint": there["NEXUS_TEST_S3"],
            "s3__access_key": there["NEXUS_TEST_S3_ACCESS_KEY"],
            "s3__secret_key": there["NEXUS_TEST_S3_SECRET_KEY"],
            "s3__bucket": BUCKET,
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
        """Make everything that it expects to be there, and nothing that was there before."""
        await self._forget_topics()
        self.must("topics", "--development")
        self.must("schema")
        await make_bucket(self.servers.variables, BUCKET)
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

    async def _forget_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings["kafka__servers"])
        await admin.start()
        try:

            async def there() -> list[str]:
                return [name for name in await admin.list_topics() if name.startswith("nexus.")]

            if old := await there():
                await admin.delete_topics(old)
            while await there():
                await asyncio.sleep(0.1)
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
        if name not in [bucket["Name"] for bucket in (await s3.list_buckets())["Buckets"]]:
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


async def jobs_of(kubeconfig: Path, namespace: str) -> set[str]:
    """The names of the Jobs that are there."""
    connection = Connection("standalone", from_kubeconfig(kubeconfig))
    await connection.open()
    answer = await connection.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")
    await connection.close()
    return {job["metadata"]["name"] for job in msgspec.json.decode(answer.body)["items"]}


class Algorithms:
    """Plays the algorithms: reports a result for each pod that runs, again until it was heard."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
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
        if pod.status.phase in {"Running", "Succeeded"} and run not in self.reported:
            self.reported.add(run)
            algorithm = labels["science.sneaksanddata.com/algorithm-template-name"]
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
async def prepared(folder: Path, servers: Servers, **settings: str) -> AsyncIterator[Installation]:
    """A Nexus of which nothing runs yet."""
    nexus = Installation(folder, servers, **settings)
    try:
        await nexus.prepare()
        yield nexus
    finally:
        await nexus.close()


@asynccontextmanager
async def installed(
    folder: Path, servers: Servers, *roles: str, **settings: str
) -> AsyncIterator[tuple[Installation, Algorithms]]:
    """A Nexus with these roles, and the algorithms that it runs."""
    async with prepared(folder, servers, **settings) as nexus:
        await nexus.start(*roles)
        algorithms = Algorithms(nexus)
        playing = asyncio.create_task(algorithms.run())
        try:
            yield nexus, algorithms
        finally:
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing
