"""Rebuild: folding the whole log into fresh projections, beside bare reading, decoding and writing of the same records."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uuid_utils

from nexus.composition import heap
from nexus.domain.events import JobCollected, JobCreated, RunCompleted, RunStarted, decode_event
from nexus.domain.topics import DEAD_LETTERS, RUNS, requests_of
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.group_commit import GroupCommit, connect
from nexus.embedded.run_store import SqliteRunStore
from nexus.journal import Journal
from streams.audit import fold_log
from streams.ledger.ledger import Ledger
from tests.bench.figures import Pair
from tests.bench.report import Result, paired
from tests.support.factories import run_requested

__all__ = ["measure"]

CHUNK = 1000
START = datetime(2026, 1, 1, tzinfo=UTC)


async def fill(log: SqliteEventLog, runs: int) -> int:
    """Whole lives of runs, as the log would have them. The number of records."""
    journal = Journal(log, "bench")
    for base in range(0, runs, CHUNK):
        requests = [
            run_requested(request_id=str(uuid_utils.uuid7()), at=START + timedelta(seconds=base + number))
            for number in range(CHUNK)
        ]
        await journal.append(requests)
        for request in requests:
            said = {"request_id": request.request_id, "algorithm": request.algorithm, "at": request.at}
            await journal.append(
                [
                    JobCreated(**said, job_uid=request.request_id, cluster=request.cluster, cluster_id="c"),
                    RunStarted(**said, started_at=request.at, pod="p"),
                    RunCompleted(**said, result_uri="s3://bucket/result"),
                    JobCollected(**said, job_uid=request.request_id),
                ]
            )
    return runs * 5


async def bare(log: SqliteEventLog, path: Path) -> int:
    """Read every record, decode it, write a row for it."""
    connection = connect(path)
    connection.execute("CREATE TABLE rows (id TEXT, offset INTEGER, body BLOB, PRIMARY KEY (id, offset))")
    connection.close()

    def write(
        connection: sqlite3.Connection, items: Sequence[list[tuple[str, int, bytes]]]
    ) -> Sequence[None]:
        for rows in items:
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)
        return [None] * len(items)

    commits: GroupCommit[list[tuple[str, int, bytes]], None] = GroupCommit(path, write)
    count = 0
    for topic, partitions in (await log.topics()).items():
        for partition in range(partitions):
            offset = 0
            while records := await log.read(topic, partition, offset, CHUNK):
                rows = []
                for record in records:
                    event = decode_event(record.value)
                    rows.append((event.request_id + topic, record.position.offset, record.value))
                await commits.submit(rows)
                offset = records[-1].position.offset + 1
                count += len(records)
    commits.close()
    return count


async def ours(log: SqliteEventLog, path: Path) -> int:
    store = SqliteRunStore(path)
    folded = await fold_log(log, Ledger(store, Journal(log, "bench"), lambda: START))
    store.close()
    return folded


async def measure(rounds: int = 5, runs: int = 10_000) -> Result:
    """Records per second of both."""
    figures = Pair()
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        topics = {RUNS: 8, requests_of("standalone"): 8, DEAD_LETTERS: 1}
        log = SqliteEventLog(folder / "log.db", topics, time.time)
        await fill(log, runs)
        heap.settle()  # as `nexus rebuild` does
        for number in range(rounds):
            for side, fold in (("bare", bare), ("ours", ours)):
                started = time.perf_counter()
                count = await fold(log, folder / f"{side}-{number}.db")
                getattr(figures, side).append(count / (time.perf_counter() - started))
        log.close()
    return Result(
        [paired("rebuild", "events/s", figures, "0.5")],
        "Rebuild: requests and facts folded into rows and histories. Bare: the same records read, decoded and written as rows.",
    )
