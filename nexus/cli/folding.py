"""Folding a whole log into fresh projections, without a word into the log itself."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from nexus.cli.render import err
from nexus.cli.state import open_state
from nexus.config import Config, load
from nexus.domain.errors import ConfigError
from nexus.domain.topics import DEAD_LETTERS, REQUESTS, RUNS
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.group_commit import connect
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.state import StateFolder
from nexus.engines import Engines
from nexus.journal import Journal
from nexus.ports import EventLog, RunFilter, RunStore
from streams import audit
from streams.ledger import CONSUMERS, Ledger

__all__ = ["rebuild", "verify"]

_CHUNK = 1000
_BEFORE_APPEND = timedelta(minutes=1)


async def verify(state: Path, config: Path | None) -> audit.Verification:
    """The projections that the configuration names, or those of the state folder."""
    settings, folder = load(config, os.environ), StateFolder(state)
    on_servers = settings.kafka.servers or settings.cassandra.hosts or settings.cassandra.bundle
    return await (_verify_servers(settings, folder) if on_servers else _verify_state(folder))


async def _verify_servers(settings: Config, folder: StateFolder) -> audit.Verification:
    """While the ledgers go on. What is on no server is in the folder, where `nexus dev` has one."""
    async with AsyncExitStack() as stack:
        engines = Engines(settings, folder if folder.root.exists() else None, stack)
        log, store = await engines.log(), await engines.store()
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="nexus-verify-")))
        folded_until = await store.watermark() or await _newest(store)
        await _fold(log, scratch / "fresh.db", scratch, "verifying")
        expected = stack.enter_context(closing(SqliteRunStore(scratch / "fresh.db")))
        # A request was made a little before the log took it.
        moving_since = folded_until - _BEFORE_APPEND if folded_until else datetime.min.replace(tzinfo=UTC)
        return await audit.verify(store, expected, moving_since)


async def _newest(store: RunStore) -> datetime | None:
    """How far the ledger has come at least, where only its own process knows the watermark."""
    newest = await store.find(RunFilter(), 1)
    return newest[0].request.at if newest else None


async def _verify_state(folder: StateFolder) -> audit.Verification:
    """Of a copy of the projections: a Nexus that goes on meanwhile is never caught in the middle."""
    with open_state(folder) as log, TemporaryDirectory(prefix="nexus-verify-") as scratch:
        if not folder.projections.exists():
            raise ConfigError(f"{folder.root} has no projections: make them with `nexus rebuild`")
        # The order matters: all that the ledger had folded by now is in the copy, and all that is in the copy is in
        # what is read of the log afterwards.
        folded = await _folded(log)
        copy = Path(scratch, "copy.db")
        _copy(folder.projections, copy)
        fresh = Path(scratch, "fresh.db")
        await _fold(log, fresh, Path(scratch), "verifying")
        with closing(SqliteRunStore(copy)) as there, closing(SqliteRunStore(fresh)) as expected:
            found = await audit.verify(there, expected)
            late = {key async for key in _requested_since(log, folded)}
            late -= (await there.get_many(list(late))).keys()
        wrong = [difference for difference in found.differences if difference.request_id not in late]
        return replace(found, behind=found.behind + len(found.differences) - len(wrong), differences=wrong)


async def rebuild(state: Path) -> int:
    """The number of records that were folded. A crash leaves the old projections, or the new; both are whole."""
    folder = StateFolder(state)
    folder.must_exist()
    fresh = folder.projections.with_name("projections.fresh.db")
    with (
        folder.owned(),
        open_state(folder) as log,
        TemporaryDirectory(prefix="nexus-rebuild-") as scratch,
    ):
        _remove(fresh)
        records = await _fold(log, fresh, Path(scratch), "rebuilding")
        _settle(folder.projections)
        fresh.replace(folder.projections)
        _sync(folder.root)
    return records


async def _fold(log: EventLog, fresh: Path, scratch: Path, doing: str) -> int:
    """Fold the log into a new file. What the ledger has to say goes into a log that is thrown away."""
    total = 0
    for topic, partitions in (await log.topics()).items():
        if topic == RUNS or topic.startswith(REQUESTS):
            total += sum([await log.end(topic, number) for number in range(partitions)])
    with (
        closing(SqliteEventLog(scratch / "unread.db", {DEAD_LETTERS: 1}, time.time)) as unread,
        closing(SqliteRunStore(fresh)) as store,
        _progress(doing) as progress,
    ):
        task = progress.add_task(doing, total=total)
        ledger = Ledger(store, Journal(unread, "nexus/audit"), lambda: datetime.now(UTC))
        return await audit.fold_log(log, ledger, lambda count: progress.update(task, completed=count))


def _progress(doing: str) -> Progress:
    console = err()
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


async def _folded(log: SqliteEventLog) -> Mapping[tuple[str, int], int]:
    """How far the ledger had come with each partition of requests."""
    return {
        (topic, number): await log.committed(CONSUMERS, topic, number)
        for topic, partitions in (await log.topics()).items()
        if topic.startswith(REQUESTS)
        for number in range(partitions)
    }


async def _requested_since(log: SqliteEventLog, since: Mapping[tuple[str, int], int]) -> AsyncIterator[str]:
    for (topic, number), offset in since.items():
        while records := await log.read(topic, number, offset, _CHUNK):
            for record in records:
                yield record.key
            offset = records[-1].position.offset + 1


def _copy(source: Path, target: Path) -> None:
    with closing(connect(source)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)


def _settle(database: Path) -> None:
    """Empty its write-ahead log before the file goes: SQLite would play what is left of it into the next one."""
    with contextlib.suppress(sqlite3.Error), closing(connect(database)) as damaged_or_not:
        damaged_or_not.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for file in _companions(database):
        file.unlink(missing_ok=True)


def _remove(database: Path) -> None:
    for file in (database, *_companions(database)):
        file.unlink(missing_ok=True)


def _companions(database: Path) -> Iterator[Path]:
    for suffix in ("-wal", "-shm"):
        yield database.with_name(database.name + suffix)


def _sync(folder: Path) -> None:
    """Make the new name durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
