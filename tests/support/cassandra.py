"""Run stores on a real Cassandra, each of them empty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from msgspec.structs import replace

from nexus.cassandra import schema
from nexus.cassandra.connection import connect, open_session
from nexus.cassandra.driver import Session
from nexus.cassandra.run_store import CassandraRunStore
from nexus.config import Cassandra

__all__ = ["cassandra_session", "cassandra_store", "drop_keyspace", "drop_keyspaces", "fresh_keyspace", "now"]

_TABLES = ("checkpoints", "run_events", "payloads", "listings", "buckets", "progress", "claims", "figures")


async def fresh_keyspace(config: Cassandra) -> None:
    async with await connect(config, None) as session:
        await session.execute(f"DROP KEYSPACE IF EXISTS {config.keyspace}")
        await schema.make_keyspace(session, config)
    async with await connect(config, config.keyspace) as session:
        await schema.apply(session)


async def drop_keyspace(config: Cassandra) -> None:
    async with await connect(config, None) as session:
        await session.execute(f"DROP KEYSPACE {config.keyspace}")


async def drop_keyspaces(config: Cassandra, prefix: str) -> None:
    """Those whose names begin so."""
    async with await connect(config, None) as session:
        rows = await session.execute("SELECT keyspace_name FROM system_schema.keyspaces")
        for name in sorted(row[0] for row in rows):
            if name.startswith(prefix):
                await session.execute(f"DROP KEYSPACE {name}")


@asynccontextmanager
async def cassandra_session(config: Cassandra) -> AsyncIterator[Session]:
    """With nothing in any table, whatever the flavour: all of them are tried on Cassandra itself."""
    async with await open_session(replace(config, flavour="cassandra")) as session:
        await asyncio.gather(*(session.execute(f"TRUNCATE {table}") for table in _TABLES))
        yield session


@asynccontextmanager
async def cassandra_store(config: Cassandra) -> AsyncIterator[CassandraRunStore]:
    async with cassandra_session(config) as session:
        yield await CassandraRunStore.open(session, config, now)


def now() -> datetime:
    return datetime.now(UTC)
