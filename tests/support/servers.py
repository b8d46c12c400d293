"""The real servers that tests use.

A test that takes one of these fixtures, or a parameter that `on_server` made, is marked `servers`.

Each is looked for in this order: at an address that the environment gives, among those that `make services` started,
in a Docker engine, as a process of this machine. Where none of these is possible, its tests are skipped, loudly.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from infra.services import S3, Cassandra, Kafka, Kubernetes, MissingTool, SecureKafka, Server
from infra.services.kubernetes.beside import ClusterBeside
from infra.services.kubernetes.build import programs
from infra.services.lending import lent
from nexus.config import Cassandra as CassandraConfig
from tests.support.cassandra import drop_keyspace, fresh_keyspace
from tests.support.containers import (
    cassandra_container,
    docker_answers,
    kafka_container,
    kubernetes_container,
    s3_container,
)
from tests.support.helm import Helm

__all__ = [
    "FIXTURES",
    "S3Server",
    "cassandra_schema",
    "cassandra_server",
    "etcd",
    "helm",
    "kafka_server",
    "kubernetes_process",
    "kubernetes_server",
    "on_server",
    "s3_server",
    "secure_kafka_server",
    "shard_servers",
]

FIXTURES = frozenset(
    {
        "beside",
        "cassandra_schema",
        "cassandra_server",
        "etcd",
        "helm",
        "kafka_server",
        "kubernetes_process",
        "kubernetes_server",
        "lone_broker",
        "s3_server",
        "secure_kafka_server",
        "own_servers",
        "shard_servers",
    }
)
"""The fixtures that start a server where none runs."""

_Kind = TypeVar("_Kind", bound=Server)


def on_server(fixture: str, *params: str) -> list[Any]:
    """Parameters of a fixture which asks for that one of FIXTURES itself, where it gets one of them."""
    assert fixture in FIXTURES
    return [pytest.param(param, marks=pytest.mark.servers(fixture)) for param in params]


class S3Server(msgspec.Struct, frozen=True):
    endpoint: str
    access_key: str
    secret_key: str


@pytest.fixture(scope="session")
def kafka_server(pytestconfig: pytest.Config) -> Iterator[str]:
    """`host:port` of a broker."""
    with _found(Kafka, kafka_container, pytestconfig) as variables:
        yield variables["NEXUS_TEST_KAFKA"]


@pytest.fixture(scope="session")
def secure_kafka_server(pytestconfig: pytest.Config) -> Iterator[SecureKafka]:
    """A broker with TLS, client certificates and passwords: always a process of this machine."""
    with _process(SecureKafka, pytestconfig) as server:
        yield server


@pytest.fixture(scope="session")
def cassandra_server(pytestconfig: pytest.Config) -> Iterator[str]:
    """`host:port` of a node."""
    with _found(Cassandra, cassandra_container, pytestconfig) as variables:
        yield variables["NEXUS_TEST_CASSANDRA"]


@pytest.fixture(scope="session")
def cassandra_schema(cassandra_server: str) -> Iterator[CassandraConfig]:
    """A keyspace with the schema, for this session of tests alone."""
    config = CassandraConfig(hosts=cassandra_server, keyspace=f"nexus_test_{os.getpid()}", replicas=1)
    asyncio.run(fresh_keyspace(config))
    yield config
    asyncio.run(drop_keyspace(config))


@pytest.fixture(scope="session")
def s3_server(pytestconfig: pytest.Config) -> Iterator[S3Server]:
    with _found(S3, s3_container, pytestconfig) as variables:
        yield S3Server(*(variables[f"NEXUS_TEST_S3{part}"] for part in ("", "_ACCESS_KEY", "_SECRET_KEY")))


@pytest.fixture(scope="session")
def kubernetes_server(pytestconfig: pytest.Config) -> Iterator[Path]:
    """The kubeconfig of an administrator; the pods are played by kwok, as their labels say."""
    with _found(Kubernetes, kubernetes_container, pytestconfig) as variables:
        yield Path(variables["NEXUS_TEST_KUBECONFIG"])


@pytest.fixture(scope="session")
def kubernetes_process(pytestconfig: pytest.Config) -> Iterator[Path]:
    """The kubeconfig of a cluster that can call this process, and whose containers have logs: no container."""
    if given := os.environ.get("NEXUS_TEST_KUBECONFIG"):
        yield Path(given)
        return
    with _process(Kubernetes, pytestconfig) as server:
        yield server.kubeconfig


@pytest.fixture(scope="session")
def etcd(pytestconfig: pytest.Config) -> Iterator[Kubernetes]:
    """What clusters of a test are beside."""
    with _process(Kubernetes, pytestconfig) as server:
        yield server


@pytest.fixture(scope="session")
def shard_servers(
    etcd: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ClusterBeside, ...]]:
    """Three clusters, each with an API server of its own, and without controllers: nothing but what a client does happens."""
    with ExitStack() as stack:
        servers = [ClusterBeside(etcd, tmp_path_factory.mktemp("cluster")) for _ in range(3)]
        for server in servers:
            stack.callback(server.remove)
            server.start()
        yield tuple(servers)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm, which is built with the programs of a cluster."""
    try:
        Kubernetes().install()
    except MissingTool as missing:
        pytest.skip(f"NOT TESTED on {missing}")
    return Helm(programs(), tmp_path_factory.mktemp("helm"))


@contextmanager
def _found(
    kind: type[Server],
    container: Callable[[], AbstractContextManager[Mapping[str, str]]],
    config: pytest.Config,
) -> Iterator[Mapping[str, str]]:
    """The address of a server, as the variables that it is known by."""
    usual = kind()
    given = {name: os.environ[name] for name in usual.variables if name in os.environ}
    if given:
        if absent := usual.variables.keys() - given:
            pytest.fail(f"{sorted(given)} is set, but {sorted(absent)} is not")
        yield given
    elif not usual.running() and docker_answers():
        with container() as variables:
            yield variables
    else:
        with _process(kind, config) as server:
            yield server.variables


@contextmanager
def _process(kind: type[_Kind], config: pytest.Config) -> Iterator[_Kind]:
    if "not servers" in config.option.markexpr:
        pytest.fail(f"this test is not marked as one of a server, and wants {kind.name}: see `on_server`")
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter and not kind().running():
        reporter.write_line(f"starting {kind.name}; the first time it is installed too, which takes minutes")
    with ExitStack() as stack:
        try:
            server = stack.enter_context(lent(kind))
        except MissingTool as missing:
            pytest.skip(f"NOT TESTED on {missing}")
        yield server
