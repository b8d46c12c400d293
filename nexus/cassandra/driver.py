"""The Cassandra driver as typed coroutines. No other module imports it, and its exceptions do not leave this one.

Its callbacks come on a thread of libev; whatever has arrived by then is handed to the loop with one wake-up.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

# The driver has no type information.
from cassandra import (  # type: ignore[import-untyped]
    AuthenticationFailed,
    ConsistencyLevel,
    InvalidRequest,
    ReadFailure,
    ReadTimeout,
    Unauthorized,
)
from cassandra import Unavailable as TooFewReplicas
from cassandra.auth import PlainTextAuthProvider  # type: ignore[import-untyped]
from cassandra.cluster import (  # type: ignore[import-untyped]
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
)
from cassandra.io.libevreactor import LibevConnection  # type: ignore[import-untyped]
from cassandra.policies import (  # type: ignore[import-untyped]
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import (  # type: ignore[import-untyped]
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    SyntaxException,
)
from cassandra.query import (  # type: ignore[import-untyped]
    UNSET_VALUE,
    BatchStatement,
    BatchType,
    tuple_factory,
)

from nexus.domain.errors import ConfigError, NexusError, OutcomeUnknown, Unavailable

__all__ = ["UNSET", "Access", "Page", "Prepared", "Row", "Session", "Statement", "Write"]

UNSET: Any = UNSET_VALUE
"""A column that a write leaves alone, without the tombstone that a null would be."""

Row = tuple[Any, ...]
Prepared = Any
"""A statement that every node knows."""

_PROTOCOL = 4
"""All flavours speak it; the next one adds checksums to those of TCP, for a fifth of the driver's CPU."""

_TIMEOUT = 5.0
_SCHEMA_TIMEOUT = 60.0
"""Seconds for a change of the schema, which flushes tables and has all nodes agree."""
_RECONNECT_EVERY = 1.0
_HEARTBEAT_EVERY = 5.0


class Access(NamedTuple):
    """How to reach a cluster. `hosts` are addresses with ports, or `bundle` is Astra's file that holds all that."""

    hosts: Sequence[tuple[str, int]] = ()
    bundle: Path | None = None
    local_dc: str = ""
    tls: bool = False
    ca_file: Path | None = None
    username: str = ""
    password: str = ""


class Statement(NamedTuple):
    prepared: Prepared
    values: Sequence[object]


class Write(NamedTuple):
    """Statements of one partition, which are done together or not at all."""

    statements: Sequence[Statement]


class Page(NamedTuple):
    """Some rows, and where the next ones begin; None after the last."""

    rows: list[Row]
    following: bytes | None


class _Answer(NamedTuple):
    to: asyncio.Future[Page]
    page: Page | None
    error: Exception | None


class Session:
    """Every method raises Unavailable, or OutcomeUnknown where something may have been written."""

    def __init__(self, cluster: Cluster, session: Any, in_flight: int) -> None:
        self._cluster = cluster
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(in_flight)
        self._answers: deque[_Answer] = deque()
        self._woken = False

    @classmethod
    async def connect(cls, access: Access, keyspace: str | None, in_flight: int) -> Session:
        """Raises ConfigError where the server refuses the credentials or has no such keyspace."""
        cluster = _cluster(access)
        try:
            session = await asyncio.to_thread(cluster.connect, keyspace)
        except Exception as error:
            await asyncio.to_thread(cluster.shutdown)
            raise _not_connected(error, access, keyspace) from None
        session.use_client_timestamp = False
        return cls(cluster, session, in_flight)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await asyncio.to_thread(self._cluster.shutdown)

    async def prepare(self, cql: str) -> Prepared:
        try:
            return await asyncio.to_thread(self._session.prepare, cql)
        except Exception as error:
            raise _translated(error, wrote=False) from None

    async def execute(self, cql: str) -> list[Row]:
        """A statement of the schema, or one that is run once with it."""
        try:
            return list(await asyncio.to_thread(self._session.execute, cql, timeout=_SCHEMA_TIMEOUT))
        except Exception as error:
            raise _translated(error, wrote=True) from None

    async def rows(self, prepared: Prepared, values: Sequence[object]) -> list[Row]:
        """All of them, page by page."""
        rows, following = await self.page(prepared, values)
        while following is not None:
            more, following = await self.page(prepared, values, following)
            rows += more
        return rows

    async def page(
        self, prepared: Prepared, values: Sequence[object], start: bytes | None = None, size: int = 5000
    ) -> Page:
        bound = prepared.bind(values)
        bound.fetch_size = size
        return await (await self._send(bound, start, wrote=False))

    async def change(self, prepared: Prepared, values: Sequence[object]) -> Row:
        """A conditional write: its row begins with whether it was applied."""
        page = await (await self._send(prepared.bind(values), None, wrote=True))
        return page.rows[0]

    async def write(self, writes: Iterable[Write]) -> None:
        """All of them, concurrently; when one fails, any of the others may have been done."""
        await asyncio.gather(*[await self._send(_bound(each), None, wrote=True) for each in writes])

    async def _send(self, bound: Any, start: bytes | None, *, wrote: bool) -> asyncio.Future[Page]:
        """Returns when it was sent, which waits for a slot; the future is its answer."""
        await self._slots.acquire()
        answer: asyncio.Future[Page] = self._loop.create_future()
        try:
            future = self._session.execute_async(bound, paging_state=start)
        except Exception as error:
            self._slots.release()
            raise _translated(error, wrote=wrote) from None

        def arrived(rows: list[Row] | None) -> None:
            self._arrived(_Answer(answer, Page(rows or [], future._paging_state), None))

        def failed(error: Exception) -> None:
            self._arrived(_Answer(answer, None, _translated(error, wrote=wrote)))

        future.add_callbacks(arrived, failed)
        return answer

    def _arrived(self, answer: _Answer) -> None:
        self._answers.append(answer)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._woken = False
        while self._answers:
            answer = self._answers.popleft()
            self._slots.release()
            if answer.to.done():
                continue  # whoever asked was cancelled
            if answer.error is not None:
                answer.to.set_exception(answer.error)
            elif answer.page is not None:
                answer.to.set_result(answer.page)


def _bound(write: Write) -> Any:
    if len(write.statements) == 1:
        prepared, values = write.statements[0]
        return prepared.bind(values)
    batch = BatchStatement(batch_type=BatchType.UNLOGGED)
    for prepared, values in write.statements:
        batch.add(prepared, values)
    return batch


def _cluster(access: Access) -> Cluster:
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(access.local_dc)),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        row_factory=tuple_factory,
        request_timeout=_TIMEOUT,
    )
    known: dict[str, Any] = (
        {"cloud": {"secure_connect_bundle": str(access.bundle)}}
        if access.bundle
        else {"contact_points": list(access.hosts), "port": access.hosts[0][1]}
    )
    if access.tls:
        known["ssl_context"] = _tls(access.ca_file)
    if access.username:
        known["auth_provider"] = PlainTextAuthProvider(access.username, access.password)
    return Cluster(
        **known,
        connection_class=LibevConnection,
        protocol_version=_PROTOCOL,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ConstantReconnectionPolicy(_RECONNECT_EVERY, max_attempts=None),
        idle_heartbeat_interval=_HEARTBEAT_EVERY,
        idle_heartbeat_timeout=_TIMEOUT,
        connect_timeout=_TIMEOUT,
        control_connection_timeout=_TIMEOUT,
    )


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.check_hostname = False  # nodes are found by their addresses, which certificates seldom name
    return context


def _not_connected(error: Exception, access: Access, keyspace: str | None) -> NexusError:
    where = str(access.bundle or ", ".join(f"{host}:{port}" for host, port in access.hosts))
    if isinstance(error, NoHostAvailable) and "using keyspace" in str(error):
        return ConfigError(f"{where} has no keyspace {keyspace}: make it with `nexus schema`")
    by_host = error.errors if isinstance(error, NoHostAvailable) else None
    causes = list(by_host.values()) if isinstance(by_host, dict) and by_host else [error]
    if any(isinstance(cause, AuthenticationFailed | Unauthorized) for cause in causes):
        return ConfigError(
            f"{where} refuses cassandra.username and cassandra.password ({causes[0]}): correct them"
        )
    return Unavailable(
        f"the run store at {where} cannot be reached ({causes[0]}): see that it runs and that cassandra.hosts names it"
    )


def _translated(error: Exception, *, wrote: bool) -> NexusError:
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, InvalidRequest | SyntaxException | Unauthorized):
        return ConfigError(f"the run store refuses a statement ({said}): see that `nexus schema` was run")
    if not wrote or _untouched(error):
        return Unavailable(f"the run store did not answer ({said}); nothing was changed, try again")
    return OutcomeUnknown(f"the run store did not confirm a write ({said}); try again, which is safe")


def _untouched(error: Exception) -> bool:
    """Whether a write that failed so has reached no replica."""
    if isinstance(error, NoHostAvailable):
        return not error.errors
    return isinstance(
        error,
        TooFewReplicas | ReadTimeout | ReadFailure | OverloadedErrorMessage | IsBootstrappingErrorMessage,
    )
