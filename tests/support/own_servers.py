"""Servers that tests may stop and kill, unlike those of `tests.support.servers`, which others use at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.services import S3, Cassandra, Kafka, Kubernetes, Server
from infra.services.server import free_ports

__all__ = ["OwnServers", "own_servers"]


class OwnServers:
    """Kafka, Cassandra, S3 and Kubernetes, with their state in a folder and on ports of their own."""

    def __init__(self, folder: Path) -> None:
        self.kafka = Kafka(folder / "kafka", free_ports(Kafka.usual_ports))
        self.cassandra = Cassandra(folder / "cassandra", free_ports(Cassandra.usual_ports))
        self.s3 = S3(folder / "s3", free_ports(S3.usual_ports))
        self.kubernetes = Kubernetes(folder / "kubernetes", free_ports(Kubernetes.usual_ports))

    @property
    def all(self) -> Sequence[Server]:
        return self.kafka, self.cassandra, self.s3, self.kubernetes

    @property
    def variables(self) -> Mapping[str, str]:
        """How to reach them, as `tests.support.servers` says it of those that are shared."""
        return {name: value for server in self.all for name, value in server.variables.items()}

    def start(self) -> None:
        """Start those that do not run; returns when all serve."""
        with ThreadPoolExecutor(len(self.all)) as pool:
            list(pool.map(lambda server: server.start(), self.all))

    def stop(self) -> None:
        with ThreadPoolExecutor(len(self.all)) as pool:
            list(pool.map(lambda server: server.stop(), self.all))


@pytest.fixture(scope="session")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServers]:
    servers = OwnServers(tmp_path_factory.mktemp("servers"))
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
