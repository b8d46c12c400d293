"""The rows that the ledger writes, as plain statements, and writing them with nothing but the driver."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import RoundRobinPolicy
from cassandra.query import BatchStatement, BatchType

from nexus.cassandra.driver import Write
from nexus.cassandra.lists import Lists
from nexus.cassandra.statements import texts
from nexus.cassandra.write_order import Stamps
from nexus.cassandra.writer import Writer
from nexus.composition.engines import THIS
from nexus.config import Cassandra
from nexus.domain.events import Fact, RunRequested, encode_event, event_id
from nexus.domain.run import Run, begin, fold
from nexus.ports import Folded, FoldedFact

__all__ = ["BareDriver", "Ledgered"]

_TOGETHER = 500
_IN_FLIGHT = 256


class _Collector:
    """In the place of a session: keeps what would have been written."""

    def __init__(self) -> None:
        self.writes: list[Write] = []

    async def write(self, writes: Iterable[Write]) -> None:
        self.writes += writes


class Ledgered:
    """What a ledger would write of these events, in batches of its size; CQL stands in the place of prepared statements."""

    def __init__(self, config: Cassandra) -> None:
        self._session: Any = _Collector()
        statements = texts(timestamps=True)
        stamps = Stamps(config.row_lifetime, THIS.clock, True)
        self._writer = Writer(self._session, statements, stamps, Lists(self._session, statements, stamps))
        self._runs: dict[str, Run] = {}
        self._offset = 0

    async def requests(self, requests: Sequence[RunRequested]) -> list[Write]:
        self._runs |= {request.request_id: begin(request) for request in requests}
        return await self._written(
            [Folded(self._runs[each.request_id], [], bytes(each.payload) or None) for each in requests]
        )

    async def facts(self, facts: Sequence[Sequence[Fact]]) -> list[Write]:
        """Those of one run together, as a ledger finds them in a batch."""
        changes = []
        for some in facts:
            entries = []
            run = self._runs[some[0].request_id]
            for fact in some:
                run = fold(run, fact, self._offset)
                entries.append(FoldedFact(self._offset, event_id(fact), encode_event(fact)))
                self._offset += 1
            self._runs[run.id] = run
            changes.append(Folded(run, entries))
        return await self._written(changes)

    async def _written(self, changes: Sequence[Folded]) -> list[Write]:
        self._session.writes = []
        for start in range(0, len(changes), _TOGETHER):
            await self._writer.write(changes[start : start + _TOGETHER])
        found: list[Write] = self._session.writes
        return found


class _Slot(NamedTuple):
    free: threading.Semaphore
    errors: list[Exception]

    def done(self, _: object) -> None:
        self.free.release()

    def failed(self, error: Exception) -> None:
        self.errors.append(error)
        self.free.release()


class BareDriver:
    """A session in a keyspace."""

    def __init__(self, config: Cassandra, keyspace: str) -> None:
        host, _, port = config.hosts.partition(":")
        profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30)
        self._cluster = Cluster(
            [host],
            port=int(port),
            connection_class=LibevConnection,
            protocol_version=4,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        )
        self._session = self._cluster.connect(keyspace)
        self._prepared: dict[str, Any] = {}

    def write(self, writes: Sequence[Write]) -> None:
        """All of them, so many at a time."""
        slot = _Slot(threading.Semaphore(_IN_FLIGHT), [])
        for each in writes:
            slot.free.acquire()
            self._session.execute_async(self._bound(each)).add_callbacks(slot.done, slot.failed)
        for _ in range(_IN_FLIGHT):
            slot.free.acquire()
        if slot.errors:
            raise slot.errors[0]

    def _bound(self, write: Write) -> Any:
        bound = [self._statement(cql).bind(values) for cql, values in write.statements]
        if len(bound) == 1:
            return bound[0]
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        for each in bound:
            batch.add(each)
        return batch

    def _statement(self, cql: str) -> Any:
        if cql not in self._prepared:
            self._prepared[cql] = self._session.prepare(cql)
        return self._prepared[cql]

    def close(self) -> None:
        self._cluster.shutdown()
