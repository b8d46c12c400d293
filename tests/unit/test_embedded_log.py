"""A topic that the embedded log gets while it is in use, for a cluster that came."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

from nexus.domain.topics import NewRecord
from nexus.embedded.event_log import SqliteEventLog


def record(topic: str, key: str) -> NewRecord:
    return NewRecord(topic, key, b"value", {})


async def test_a_topic_can_be_made_while_others_are_written(tmp_path):
    file = tmp_path / "log.db"
    with closing(SqliteEventLog(file, {"first": 1}, time.time)) as log:
        await asyncio.gather(
            log.append([record("first", "a")]),
            log.make("second", 2),
            log.append([record("first", "b")]),
        )
        await log.append([record("second", "c")])
        await log.make("second", 2)
        assert await log.topics() == {"first": 1, "second": 2}
        assert await log.end("first", 0) == 2
        assert sum([await log.end("second", number) for number in range(2)]) == 1
    with closing(SqliteEventLog(file, {"first": 1}, time.time)) as log:
        assert await log.topics() == {"first": 1, "second": 2}
        assert sum([len(await log.read("second", number, 0, 10)) for number in range(2)]) == 1
