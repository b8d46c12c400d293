"""Which adapter stands behind each port: a server that the configuration names, or an embedded engine."""

from __future__ import annotations

import asyncio
import random
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import uuid_utils

from nexus import __version__
from nexus.backoff import retry
from nexus.composition.fleet import Fleet, Opened
from nexus.config import Config
from nexus.cordons import Cordons
from nexus.domain.access import Capabilities, derived
from nexus.domain.errors import ConfigError
from nexus.domain.events import RunRequested
from nexus.domain.job import Materializer
from nexus.domain.payload import PayloadSigner
from nexus.domain.topics import CLUSTERS, DEAD_LETTERS, OBSERVATIONS, RESULTS, RUNS, requests_of
from nexus.embedded.claims import SqliteClaims
from nexus.embedded.cluster.local import LocalCluster
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.leadership import Alone
from nexus.embedded.payload_store import FolderPayloadStore
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.state import StateFolder
from nexus.embedded.templates import FolderTemplates
from nexus.journal import Journal
from nexus.kafka.client import connection
from nexus.kafka.names import Names
from nexus.kubernetes.credentials import Load
from nexus.kubernetes.shards import find, of_custom_resources, shards
from nexus.payload_urls import SignedUrls
from nexus.ports import (
    Claims,
    Cluster,
    EventLog,
    Leadership,
    Objects,
    Partition,
    PayloadStore,
    PayloadUrls,
    RunStore,
    Templates,
)
from streams.context import Context
from streams.drivers.embedded import EmbeddedDriver
from streams.ledger.ledger import CONSUMERS
from streams.processor import Clock, Driver, Processor

# What speaks with a server is imported where it is opened, so that a role loads the libraries of the servers it asks.
if TYPE_CHECKING:
    from nexus.cassandra.driver import Session
    from nexus.kafka.event_log import KafkaEventLog
    from nexus.kubernetes.cluster import KubernetesCluster
    from nexus.kubernetes.connection import Connection
    from nexus.kubernetes.lease import Lease

__all__ = ["THIS", "Engines", "Machine"]


class Machine(NamedTuple):
    """What a process finds where it runs: a name, time, chance and identities."""

    name: str
    clock: Clock
    monotonic: Callable[[], float]
    """Seconds."""
    chance: Callable[[], float]
    """From 0 to 1, for what is to be spread."""
    new_id: Callable[[], str]
    """Of a run: a UUIDv7."""


THIS = Machine(
    socket.gethostname(),
    lambda: datetime.now(UTC),
    time.monotonic,
    random.random,
    lambda: str(uuid_utils.uuid7()),
)


class Engines:
    """The ports of one process, each opened when a role first asks for it and closed with the stack.

    With a state folder, whatever the configuration names no server for is embedded there; without one that is an
    error, because the embedded engines belong to one process.
    """

    def __init__(
        self, config: Config, state: StateFolder | None, stack: AsyncExitStack, machine: Machine = THIS
    ) -> None:
        self.config = config
        self.machine = machine
        self.url = config.http.external_url.rstrip("/") or config.http.address
        self.journals: dict[str, Journal] = {}
        """By role: those that were asked for."""
        self._state = state
        self._stack = stack
        self._log: SqliteEventLog | None = None
        self._kafka: KafkaEventLog | None = None
        self._session: Session | None = None
        self._store: RunStore | None = None
        self._claims: Claims | None = None
        self._payloads: PayloadStore | None = None
        self._templates: Templates | None = None
        self._clusters: Mapping[str, Cluster] | None = None
        self._shards = shards(config)
        kubeconfigs = config.kubernetes.kubeconfig
        self._followed = kubeconfigs is not None and kubeconfigs.is_dir()
        self.fleet: Fleet[Load | None] = Fleet(
            self._shards or {config.cluster.name: None}, self._look if self._followed else None
        )
        self._opening = asyncio.Lock()
        self._connections = Opened(self.fleet, self._connection)
        self._home: Connection | None = None
        self._cordons: Cordons | None = None

    def closing(self, close: Callable[[], Awaitable[None]]) -> None:
        """Let something be closed with the engines."""
        self._stack.push_async_callback(close)

    @property
    def body_folder(self) -> Path | None:
        """Where bodies wait that are too large for memory. Many systems keep their temporary files in memory."""
        return self.config.http.body_folder or (self._state.root if self._state else None)

    def topics(self) -> dict[str, int]:
        """Every topic, and its number of partitions."""
        log = self.config.log
        return {
            RUNS: log.run_partitions,
            **{requests_of(name): log.request_partitions for name in self.every_cluster()},
            OBSERVATIONS: log.run_partitions,
            RESULTS: log.run_partitions,
            DEAD_LETTERS: 1,
            CLUSTERS: 1,
        }

    def cluster_names(self) -> list[str]:
        """Those that are configured now."""
        return list(self.fleet.found)

    def _look(self) -> tuple[Mapping[str, Load | None], Sequence[str]]:
        folder = self.config.kubernetes.kubeconfig
        if folder is None or not folder.is_dir():
            raise ConfigError(
                f"kubernetes.kubeconfig: the folder {folder} cannot be read: see whether it is mounted"
            )
        there = find(self.config)
        return there.found, there.problems

    def every_cluster(self) -> list[str]:
        """With those that were removed: what was requested for them has to end, and their topics to be folded."""
        here, removed = self.cluster_names(), self.config.kubernetes.removed_clusters
        if both := set(here).intersection(removed):
            raise ConfigError(
                f"kubernetes.removed names {', '.join(sorted(both))}, which is configured as well: "
                "take its kubeconfig away, or its name from kubernetes.removed"
            )
        return [*here, *removed]

    async def make_topic_of(self, cluster: str) -> None:
        """Where it is missing. Raises Unavailable, and ConfigError for what the brokers cannot do."""
        if self.config.kafka.servers:
            from nexus.kafka.topics import add_cluster

            await add_cluster(self.config, cluster)
        else:
            await self._embedded_log().make(requests_of(cluster), self.config.log.request_partitions)

    async def log(self) -> EventLog:
        if not self.config.kafka.servers:
            return self._embedded_log()
        if self._kafka is None:
            from nexus.kafka.event_log import KafkaEventLog

            log = KafkaEventLog(self.config.kafka, {RUNS: self.config.log.run_partitions})
            await retry(log.start)
            self._stack.push_async_callback(log.close)
            self._kafka = log
        return self._kafka

    def _embedded_log(self) -> SqliteEventLog:
        if self._log is None:
            state = self._embedded("event log", "kafka.servers")
            self._log = SqliteEventLog(state.log, self.topics(), time.time)
            self._stack.callback(self._log.close)
        return self._log

    async def cordons(self) -> Cordons:
        """Which clusters are cordoned, once it is followed or refreshed."""
        if self._cordons is None:
            self._cordons = Cordons(await self.log(), self.machine.monotonic)
        return self._cordons

    async def journal(self, role: str) -> Journal:
        if role not in self.journals:
            self.journals[role] = Journal(await self.log(), f"nexus/{role}/{self.machine.name}")
        return self.journals[role]

    async def context(self, role: str) -> Context:
        """What the processors of this role work with."""
        machine = self.machine
        return Context(
            await self.store(), await self.journal(role), machine.clock, machine.monotonic, machine.chance
        )

    async def driver(
        self,
        processor: Processor,
        topics: Sequence[str],
        consumers: str | None,
        *,
        by_cluster: bool = False,
        prompt: bool = False,
    ) -> Driver:
        """Feeds a processor as a consumer group; with none, from the end of the log on.

        `by_cluster`: the processor is no faster than a cluster, so that on Kafka it runs as a Faust app. `prompt`:
        somebody waits for what it has caught up with.
        """
        if not self.config.kafka.servers:
            return EmbeddedDriver(
                self._embedded_log(), topics, processor, consumers=consumers, clock=self.machine.clock
            )
        brokers, names = connection(self.config.kafka), self._names
        if by_cluster and consumers is not None:
            from streams.drivers.faust import FaustDriver

            group = self._group(consumers)
            return FaustDriver(
                brokers,
                topics,
                processor,
                consumers=group,
                clock=self.machine.clock,
                prompt=prompt,
                names=names,
            )
        from streams.drivers.kafka import KafkaDriver

        members = None if consumers is None else self._group(consumers)
        return KafkaDriver(
            brokers,
            topics,
            processor,
            consumers=members,
            clock=self.machine.clock,
            prompt=prompt,
            names=names,
        )

    @property
    def ledgers(self) -> str:
        """Their consumer group. Each keyspace has one of its own: a fresh one is folded from where its rebuild ended."""
        return f"{CONSUMERS}-{self.config.cassandra.keyspace}" if self._on_cassandra else CONSUMERS

    async def begin_at(self, offsets: Mapping[Partition, int]) -> None:
        """Let the ledgers of these projections, none of which runs yet, begin there."""
        from nexus.kafka.groups import commit

        there = {Partition(self._names.there(at.topic), at.number): offset for at, offset in offsets.items()}
        await commit(connection(self.config.kafka), self._group(self.ledgers), there)

    def _group(self, consumers: str) -> str:
        return self._names.group(f"{self.config.placement.installation}.{consumers}")

    @property
    def _names(self) -> Names:
        """Of the topics on the brokers."""
        return Names(self.config.kafka.prefix)

    async def store(self) -> RunStore:
        if self._store is None and self._on_cassandra:
            from nexus.cassandra.run_store import CassandraRunStore

            session = await self._cassandra()
            self._store = await CassandraRunStore.open(session, self.config.cassandra, self.machine.clock)
        if self._store is None:
            store = SqliteRunStore(self._embedded("run store", "cassandra.hosts").projections)
            self._stack.callback(store.close)
            self._store = store
        return self._store

    async def claims(self) -> Claims:
        if self._claims is None and self._on_cassandra:
            from nexus.cassandra.claims import CassandraClaims

            self._claims = await CassandraClaims.open(await self._cassandra(), self.config.cassandra)
        if self._claims is None:
            claims = SqliteClaims(self._embedded("run store", "cassandra.hosts").claims)
            self._stack.callback(claims.close)
            self._claims = claims
        return self._claims

    @property
    def _on_cassandra(self) -> bool:
        return self.config.cassandra.configured

    async def _cassandra(self) -> Session:
        if self._session is None:
            from nexus.cassandra.connection import open_session

            session = self._session = await retry(partial(open_session, self.config.cassandra))
            self._stack.push_async_callback(session.close)
        return self._session

    async def payloads(self) -> PayloadStore:
        if self._payloads is None and self.config.s3.bucket:
            from nexus.s3 import S3PayloadStore

            store = S3PayloadStore(self.config.s3)
            await retry(store.start)
            self._stack.push_async_callback(store.close)
            self._payloads = store
        if self._payloads is None:
            self._payloads = FolderPayloadStore(self._embedded("payload store", "s3.bucket").payloads)
        return self._payloads

    async def urls(self) -> PayloadUrls:
        signed = SignedUrls(self.signer())
        if not self.config.s3.presign:
            return signed
        from nexus.s3 import PresignedUrls, S3PayloadStore

        payloads = await self.payloads()
        return PresignedUrls(payloads, signed) if isinstance(payloads, S3PayloadStore) else signed

    async def templates(self) -> Templates:
        if self._templates is None:
            settings = self.config.templates
            if settings.source == "kubernetes":
                from nexus.kubernetes.templates import KubernetesTemplates

                connection = await self.custom_resources()
                self._templates = KubernetesTemplates(connection, self.config.kubernetes.namespace)
                await self._templates.start()
            else:
                self._templates = FolderTemplates(settings.folder)
        return self._templates

    def of_served(self, consumers: str) -> str:
        """The group of those that consume for the same clusters: each such group hears everything."""
        return "-".join([consumers, *self.config.kubernetes.served_clusters])

    def _serves(self, name: str) -> bool:
        served = self.config.kubernetes.served_clusters
        return not served or name in served

    def _check_served(self) -> None:
        if unknown := set(self.config.kubernetes.served_clusters).difference(self._shards):
            raise ConfigError(
                f"kubernetes.serve names {', '.join(sorted(unknown))}, and the clusters that are configured are "
                f"{', '.join(self._shards)}: correct it, or add a kubeconfig"
            )

    async def clusters(self) -> Mapping[str, Cluster]:
        """Those that this process serves: they come and go while somebody looks."""
        async with self._opening:
            if self._clusters is None and self._shards:
                self._check_served()
                if not self._followed:  # of a folder, one that cannot be used holds up no other
                    for connection in self._connections.values():
                        await connection.open()
                self._clusters = Opened(self.fleet, self._shard, self._serves)
            if self._clusters is None:
                cluster = await self._local_cluster()
                self._clusters = {cluster.name: cluster}
            return self._clusters

    def leadership(self, cluster: Cluster, work: str) -> Leadership:
        """Of the processes that could do this work on the cluster."""
        if not self._shards:
            return Alone()
        from nexus.kubernetes.cluster import KubernetesCluster

        assert isinstance(cluster, KubernetesCluster)
        return self._lease(cluster.connection, work)

    async def home(self) -> tuple[Objects, Leadership]:
        """The cluster that the controller syncs from, and who does so. Raises ConfigError where none is named."""
        from nexus.kubernetes.objects import KubernetesObjects

        connection = await self.custom_resources()
        namespace = self.config.kubernetes.namespace
        return KubernetesObjects(connection.name, connection, namespace), self._lease(
            connection, "controller"
        )

    def synced(self) -> Mapping[str, Objects]:
        """The clusters that the controller syncs to: they come and go while somebody looks."""
        from nexus.kubernetes.objects import KubernetesObjects

        namespace = self.config.kubernetes.namespace
        return Opened(self.fleet, lambda name, _: KubernetesObjects(name, self._connections[name], namespace))

    def _lease(self, connection: Connection, work: str) -> Lease:
        from nexus.kubernetes.lease import Lease

        return Lease(
            connection,
            self.config.kubernetes.namespace,
            f"{self.config.placement.installation}-{work}",
            holder=f"{self.machine.name}-{uuid.uuid4().hex[:8]}",
            clock=self.machine.clock,
        )

    async def custom_resources(self) -> Connection:
        """To the cluster where they are."""
        load, name = of_custom_resources(self.config), "of the custom resources"
        if load is None and self._shards:
            # With a connection of its own, for that cluster may go.
            name, load = next(iter(self._shards.items()))
        if load is None:
            raise ConfigError(
                "templates.source is 'kubernetes' or auth takes service accounts or custom resources, and no cluster is configured: "
                "set templates.in_cluster, templates.kubeconfig, kubernetes.kubeconfig or kubernetes.in_cluster"
            )
        if self._home is None:
            home = self._connection(name, load)
            await home.open()
            self._home = home
        return self._home

    def _shard(self, name: str, _: Load | None) -> KubernetesCluster:
        from nexus.kubernetes.cluster import KubernetesCluster

        return KubernetesCluster(name, self._connections[name], self.config.kubernetes.namespace)

    def _connection(self, name: str, load: Load | None) -> Connection:
        from nexus.kubernetes.connection import Connection

        assert load is not None
        connection = Connection(name, load)
        # Not when its cluster is taken away: whoever asks it just now is answered.
        self._stack.push_async_callback(connection.close)
        return connection

    async def _local_cluster(self) -> LocalCluster:
        state = self._embedded("cluster", "kubernetes.kubeconfig")
        cluster = LocalCluster(
            state.cluster,
            name=self.config.cluster.name,
            slots=self.config.cluster.slots,
            directory_of=_directories(await self.templates()),
            environment={"NEXUS__CLIENT__RECEIVER": self.url, "NEXUS__CLIENT__SCHEDULER": self.url},
        )
        await cluster.start()
        self._stack.push_async_callback(cluster.stop)
        return cluster

    def signer(self) -> PayloadSigner:
        return PayloadSigner(self.url, self.config.payload.tenant_id, self._sign_secret())

    def _sign_secret(self) -> bytes:
        secret = self.config.payload.sign_secret.encode()
        return secret or self._embedded("secret for payload URLs", "payload.sign_secret").sign_secret()

    def capabilities(self) -> Capabilities:
        """What proves the reports of this installation's runs."""
        auth = self.config.auth
        keys = auth.capability_secrets or [derived(self._sign_secret())]
        return Capabilities(keys, self.config.placement.installation, auth.report_allowance)

    def job_variables(self) -> Callable[[RunRequested, datetime], Mapping[str, str]]:
        """What each Job is given besides what its template says. Raises ConfigError where no receiver is known."""
        if self.config.auth.reports == "open":
            return lambda _request, _now: {}
        here = self.url if self._state else ""
        receiver, scheduler = (
            url.rstrip("/") or here for url in (self.config.http.receiver_url, self.config.http.scheduler_url)
        )
        if not receiver:
            raise ConfigError(
                f"auth.reports is {self.config.auth.reports}, and Jobs have to be told where the receiver is: "
                "set http.receiver_url"
            )
        bases = {"NEXUS__CLIENT__RECEIVER": receiver, "NEXUS__CLIENT__SCHEDULER": scheduler}
        capabilities = self.capabilities()

        def variables(request: RunRequested, now: datetime) -> Mapping[str, str]:
            capability = capabilities.of(request, now)
            return {name: f"{base}/as/{capability}" for name, base in bases.items() if base}

        return variables

    def materializer(self) -> Materializer:
        placement = self.config.placement
        version = __version__ if self._state is None else f"{__version__}-dev"
        return Materializer(placement.installation, version, placement.ttl_after_finished)

    def _embedded(self, engine: str, key: str) -> StateFolder:
        if self._state is None:
            variable = f"NEXUS__{key.replace('.', '__').upper()}"
            raise ConfigError(
                f"no {engine} is configured, and the embedded one belongs to one `nexus dev`: "
                f"set {key} ({variable}), or use `nexus dev` here"
            )
        return self._state


def _directories(templates: Templates) -> Callable[[str], Path | None]:
    return templates.directory_of if isinstance(templates, FolderTemplates) else lambda _: None
