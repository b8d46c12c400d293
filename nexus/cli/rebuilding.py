"""Making the projections anew from the log: beside those that are in use, and then a switch."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

from msgspec.structs import replace

from nexus.cli.folding import ends, fold
from nexus.cli.state import open_log
from nexus.composition.engines import Engines
from nexus.composition.provision import make_tables
from nexus.config import Config, load
from nexus.domain.errors import ConfigError, Damaged, Unavailable
from nexus.embedded.group_commit import connect
from nexus.embedded.private import sync_folder
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.state import StateFolder
from nexus.ports import RunFilter

__all__ = ["rebuild"]


async def rebuild(state: Path, config: Path | None, into: str | None) -> int:
    """The number of records that were folded. Nothing is emitted."""
    settings = load(config, os.environ)
    if settings.cassandra.configured:
        if into is None or into == settings.cassandra.keyspace:
            raise ConfigError(
                f"the projections are in the keyspace {settings.cassandra.keyspace!r}, and are in use: name another one "
                "with --into"
            )
        return await _rebuild_keyspace(settings, into)
    if into is not None:
        raise ConfigError("--into names a keyspace of Cassandra, and none is configured: leave it out")
    folder = StateFolder(state)
    if not settings.kafka.servers:
        folder.must_exist()
    return await _rebuild_file(folder, config)


async def _rebuild_keyspace(settings: Config, into: str) -> int:
    """While the ledgers go on with the old one. Those of the fresh one begin where this ends, by their own group's offsets."""
    fresh = replace(settings, cassandra=replace(settings.cassandra, keyspace=into))
    if not settings.kafka.servers:
        raise ConfigError(
            "projections on Cassandra are made anew from a log on Kafka: set kafka.servers (NEXUS__KAFKA__SERVERS)"
        )
    await make_tables(fresh.cassandra)
    async with AsyncExitStack() as stack:
        engines = Engines(fresh, None, stack)
        log, store = await engines.log(), await engines.store()
        if await store.find(RunFilter(), 1):
            raise ConfigError(
                f"the keyspace {into!r} holds runs already: name another one with --into, or drop it"
            )
        reached = await ends(log)
        records = await fold(log, store, "rebuilding")
        await engines.begin_at(reached)
    return records


async def _rebuild_file(folder: StateFolder, config: Path | None) -> int:
    """Of a Nexus that is stopped. A crash leaves the old projections, or the new; both are whole."""
    fresh = folder.fresh_projections
    with folder.owned():
        async with open_log(folder.root, config) as log:
            _remove(fresh)
            with closing(SqliteRunStore(fresh)) as store:
                records = await fold(log, store, "rebuilding")
        _settle(folder.projections)
        fresh.replace(folder.projections)
        sync_folder(folder.root)
    return records


def _settle(database: Path) -> None:
    """Empty its write-ahead log before the file goes: SQLite would play what is left of it into the next one.

    Raises Unavailable where that cannot be done, such as on a full disk: the log still holds what was folded last.
    """
    try:
        with closing(connect(database)) as damaged_or_not:
            damaged_or_not.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except (sqlite3.OperationalError, Unavailable) as error:
        raise Unavailable(
            f"{database} cannot be written ({error}), and is kept: check the disk's space and permissions"
        ) from None
    except (sqlite3.DatabaseError, Damaged):
        pass  # it is damaged, and is made anew for that
    for file in _companions(database):
        file.unlink(missing_ok=True)


def _remove(database: Path) -> None:
    for file in (database, *_companions(database)):
        file.unlink(missing_ok=True)


def _companions(database: Path) -> Iterator[Path]:
    for suffix in ("-wal", "-shm"):
        yield database.with_name(database.name + suffix)
