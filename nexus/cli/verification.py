"""Holding the projections against a fold of the log, beside the Nexus that goes on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from nexus.cli.folding import fold
from nexus.cli.state import open_state
from nexus.composition.engines import Engines
from nexus.config import Config, load
from nexus.domain.errors import ConfigError
from nexus.domain.topics import REQUESTS
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.group_commit import connect
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.state import StateFolder
from nexus.ports import RunFilter, RunStore
from streams import audit
from streams.ledger.ledger import CONSUMERS

__all__ = ["verify"]

_CHUNK = 1000
_BEFORE_APPEND = timedelta(minutes=1)


async def verify(state: Path, config: Path | None) -> audit.Verification:
    """The projections that the configuration names, or those of the state folder."""
    settings, folder = load(config, os.environ), StateFolder(state)
    on_servers = bool(settings.kafka.servers) or settings.cassandra.configured
    return await (_verify_servers(settings, folder) if on_servers else _verify_state(folder))


async def _verify_servers(settings: Config, folder: StateFolder) -> audit.Verification:
    """While the ledgers go on. What is on no server is in the folder, where `nexus dev` has one."""
    async with AsyncExitStack() as stack:
        engines = Engines(settings, folder if folder.root.exists() else None, stack)
        log, store = await engines.log(), await engines.store()
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="nexus-verify-")))
        folded_until = await store.watermark() or await _newest(store)
        expected = stack.enter_context(closing(SqliteRunStore(scratch / "fresh.db")))
        await fold(log, expected, "verifying")
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
        with (
            closing(SqliteRunStore(copy)) as there,
            closing(SqliteRunStore(Path(scratch, "fresh.db"))) as expected,
        ):
            await fold(log, expected, "verifying")
            found = await audit.verify(there, expected)
            late = {key async for key in _requested_since(log, folded)}
            late -= (await there.get_many(list(late))).keys()
        wrong = [difference for difference in found.differences if difference.request_id not in late]
        return replace(found, behind=found.behind + len(found.differences) - len(wrong), differences=wrong)


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
