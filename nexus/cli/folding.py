"""Folding a whole log into fresh projections, without a word into the log itself."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from nexus.cli.render import err
from nexus.composition import heap
from nexus.domain.topics import DEAD_LETTERS, REQUESTS, RUNS
from nexus.embedded.event_log import SqliteEventLog
from nexus.journal import Journal
from nexus.ports import EventLog, Partition, RunStore
from streams import audit
from streams.ledger.ledger import Ledger

__all__ = ["ends", "fold"]


async def ends(log: EventLog) -> dict[Partition, int]:
    """Where the partitions end that projections are folded from."""
    return {
        Partition(topic, number): await log.end(topic, number)
        for topic, partitions in (await log.topics()).items()
        if topic == RUNS or topic.startswith(REQUESTS)
        for number in range(partitions)
    }


async def fold(log: EventLog, fresh: RunStore, doing: str) -> int:
    """The number of records. What the ledger has to say goes into a log that is thrown away."""
    total = sum((await ends(log)).values())
    with (
        TemporaryDirectory(prefix="nexus-fold-") as scratch,
        closing(SqliteEventLog(Path(scratch, "unread.db"), {DEAD_LETTERS: 1}, time.time)) as unread,
        _progress(doing) as progress,
    ):
        task = progress.add_task(doing, total=total)
        heap.settle()
        ledger = Ledger(fresh, Journal(unread, "nexus/audit"), lambda: datetime.now(UTC))
        return await audit.fold_log(log, ledger, lambda count: progress.update(task, completed=count))


def _progress(doing: str) -> Progress:
    console = err()
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
