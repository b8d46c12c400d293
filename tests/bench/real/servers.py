"""The servers that the real engines are measured on, and a Nexus on them that leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from infra.services import S3, Cassandra, Kafka, Kubernetes, Server
from infra.services.lending import lent
from infra.services.server import free_ports
from nexus.config import Cassandra as CassandraConfig
from nexus.config import Config, load
from tests.e2e.installation import Installation
from tests.support.own_servers import OwnServers

__all__ = ["BenchServers", "Site", "apart", "running"]


class BenchServers(OwnServers):
    """Those that run on this machine, or are started for now. Kafka is our own, and empty: what is measured is its log."""

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-bench-")))
        self.kafka = Kafka(folder / "kafka", free_ports(Kafka.usual_ports))
        stack.callback(self.kafka.stop)
        self.kafka.start()
        self.cassandra = stack.enter_context(lent(Cassandra))
        self.s3 = stack.enter_context(lent(S3))
        self.kubernetes = stack.enter_context(lent(Kubernetes))


@contextmanager
def running() -> Iterator[BenchServers]:
    """Raises ServiceError where one cannot be had."""
    with ExitStack() as stack:
        yield BenchServers(stack)


@contextmanager
def apart(servers: BenchServers) -> Iterator[None]:
    """Kubernetes on the first core, and everything else on the others, as if on machines of their own."""
    cores = os.sched_getaffinity(0)
    first = {min(cores)}
    ours = [os.getpid(), *_pids(servers.kafka), *_pids(servers.cassandra), *_pids(servers.s3)]
    theirs = _pids(servers.kubernetes)
    _bind(theirs, first)
    _bind(ours, cores - first or first)
    try:
        yield
    finally:
        _bind([*ours, *theirs], cores)


def _pids(server: Server) -> list[int]:
    return [component.pid for component in server.components if component.pid]


def _bind(pids: Sequence[int], cores: set[int]) -> None:
    """What they start from now on goes there too."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


class Site(Installation):
    """With empty topics, and a keyspace and a namespace that go with it."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, servers: OwnServers, **settings: str) -> AsyncIterator[Site]:
        with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
            site = cls(Path(folder), servers.variables, **settings)
            try:
                await site.prepare()
                yield site
            finally:
                await site.close()
                await site.remove()

    @property
    def config(self) -> Config:
        """That of its roles."""
        return load(None, self.variables)

    @property
    def cassandra(self) -> CassandraConfig:
        return self.config.cassandra

    async def stop(self, name: str) -> None:
        """Let a role end, so that it can be started again."""
        self.processes[name].stop()
