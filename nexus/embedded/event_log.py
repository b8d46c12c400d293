"""The event log on one SQLite file, with the committed offsets of its consumer groups."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from nexus.domain.errors import ConfigError, NexusError
from nexus.domain.topics import NewRecord
from nexus.embedded.group_commit import GroupCommit, connect
from nexus.ports import Partition, Position, Record

__all__ = ["SqliteEventLog"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, partitions INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    place INTEGER PRIMARY KEY, key TEXT NOT NULL, headers BLOB NOT NULL, value BLOB NOT NULL, timestamp REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS commits (
    consumers TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (consumers, topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checks (id INTEGER PRIMARY KEY, filler BLOB NOT NULL);
"""

_ROOM = 64 * 1024
"""Bytes that a check writes: as many as a payload inline may have."""

# A record's place is its rowid, so that the log is one B-tree, written at the right edge of each partition:
# 7 bits of topic, 12 of partition, 44 of offset.
_OFFSET_BITS = 44
_PARTITION_BITS = 12

_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class _Commit(msgspec.Struct, frozen=True):
    consumers: str
    next: Mapping[Partition, int]


class _Check(msgspec.Struct, frozen=True):
    pass


class _Make(msgspec.Struct, frozen=True):
    topic: str
    partitions: int


_Item = Sequence[tuple[int, NewRecord]] | _Commit | _Check | _Make
"""Records with their partitions, offsets to commit, a look whether that can be done, or a topic to make."""


class SqliteEventLog:
    """`topics` are created where they are missing; the number of partitions of one that exists cannot change."""

    def __init__(self, path: Path, topics: Mapping[str, int], now: Callable[[], float]) -> None:
        self._now = now
        self._reader = connect(path)
        self._reader.executescript(_SCHEMA)
        for name, partitions in topics.items():
            self._reader.execute(
                "INSERT OR IGNORE INTO topics (name, partitions) VALUES (?, ?)", (name, partitions)
            )
        self._topics = self._find_topics()
        for name, partitions in topics.items():
            if (there := self._topics[name][1]) != partitions:
                raise ConfigError(
                    f"{path} has {there} partitions of {name}, {partitions} are configured: keep {there}"
                )
        self._ends = {
            (name, partition): self._find_end(name, partition)
            for name, (_, partitions) in self._topics.items()
            for partition in range(partitions)
        }
        self._arrivals: set[asyncio.Event] = set()
        self._commits: GroupCommit[_Item, list[Position]] = GroupCommit(path, self._apply)

    def close(self) -> None:
        self._commits.close()
        self._reader.close()

    async def append(self, records: Sequence[NewRecord]) -> list[Position]:
        positions = await self._commits.submit([(self._partition_of(record), record) for record in records])
        for arrival in self._arrivals:
            arrival.set()
        return positions

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        # On the loop's own thread: a read of a few pages of a local file is shorter than two thread switches.
        first = self._place(topic, partition, offset)
        last = self._place(topic, partition, (1 << _OFFSET_BITS) - 1)
        rows = self._reader.execute(
            "SELECT place, key, value, headers, timestamp FROM records WHERE place BETWEEN ? AND ? ORDER BY place LIMIT ?",
            (first, last, limit),
        )
        base = self._place(topic, partition, 0)
        return [
            Record(Position(topic, partition, place - base), key, value, _decode_headers(headers), timestamp)
            for place, key, value, headers, timestamp in rows
        ]

    async def topics(self) -> Mapping[str, int]:
        return {name: partitions for name, (_, partitions) in self._topics.items()}

    async def end(self, topic: str, partition: int) -> int:
        return self._find_end(topic, partition)

    async def committed(self, consumers: str, topic: str, partition: int) -> int:
        """The offset that the group reads next; the earliest for one that never committed."""
        row = self._reader.execute(
            "SELECT next FROM commits WHERE consumers = ? AND topic = ? AND partition = ?",
            (consumers, topic, partition),
        ).fetchone()
        return int(row[0]) if row else 0

    async def commit(self, consumers: str, offsets: Mapping[Partition, int]) -> None:
        await self._commits.submit(_Commit(consumers, offsets))

    async def make(self, topic: str, partitions: int) -> None:
        """Make a topic where it is missing."""
        await self._commits.submit(_Make(topic, partitions))
        self._topics = self._find_topics()

    async def check(self) -> None:
        """Writes as an append does: nothing else knows of every way in which a disk can refuse."""
        await self._commits.submit(_Check())

    def subscribe(self, arrival: asyncio.Event) -> None:
        """Set this event whenever something was appended by this process."""
        self._arrivals.add(arrival)

    def unsubscribe(self, arrival: asyncio.Event) -> None:
        self._arrivals.discard(arrival)

    def _apply(self, connection: sqlite3.Connection, items: Sequence[_Item]) -> list[list[Position]]:
        ends = dict(self._ends)
        timestamp = self._now()
        rows = []
        results: list[list[Position]] = []
        for item in items:
            if isinstance(item, _Check):
                connection.execute("INSERT OR REPLACE INTO checks VALUES (1, zeroblob(?))", (_ROOM,))
                results.append([])
                continue
            if isinstance(item, _Make):
                connection.execute(
                    "INSERT OR IGNORE INTO topics (name, partitions) VALUES (?, ?)",
                    (item.topic, item.partitions),
                )
                for number in range(item.partitions):
                    ends.setdefault((item.topic, number), 0)
                results.append([])
                continue
            if isinstance(item, _Commit):
                connection.executemany(
                    "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)",
                    [
                        (item.consumers, topic, partition, after)
                        for (topic, partition), after in item.next.items()
                    ],
                )
                results.append([])
                continue
            positions = []
            for partition, record in item:
                offset = ends[record.topic, partition]
                ends[record.topic, partition] = offset + 1
                place = self._place(record.topic, partition, offset)
                rows.append((place, record.key, msgspec.json.encode(record.headers), record.value, timestamp))
                positions.append(Position(record.topic, partition, offset))
            results.append(positions)
        connection.executemany(
            "INSERT INTO records (place, key, headers, value, timestamp) VALUES (?, ?, ?, ?, ?)", rows
        )
        # Ends move on before the commit: an offset of a transaction that failed is left out, never given twice.
        self._ends = ends
        return results

    def _find_topics(self) -> dict[str, tuple[int, int]]:
        return {
            name: (key, partitions)
            for key, name, partitions in self._reader.execute("SELECT id, name, partitions FROM topics")
        }

    def _partition_of(self, record: NewRecord) -> int:
        try:
            _, partitions = self._topics[record.topic]
        except KeyError:
            raise NexusError(
                f"there is no topic {record.topic}: topics are made from the configuration"
            ) from None
        return zlib.crc32(record.key.encode()) % partitions

    def _place(self, topic: str, partition: int, offset: int) -> int:
        return ((self._topics[topic][0] << _PARTITION_BITS | partition) << _OFFSET_BITS) + offset

    def _find_end(self, topic: str, partition: int) -> int:
        first = self._place(topic, partition, 0)
        (last,) = self._reader.execute(
            "SELECT max(place) FROM records WHERE place BETWEEN ? AND ?",
            (first, first + (1 << _OFFSET_BITS) - 1),
        ).fetchone()
        return 0 if last is None else int(last) - first + 1
