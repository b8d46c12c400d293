"""The projections on one SQLite file. The row is the run as JSON; the columns beside it are what queries need."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from nexus.domain.events import decode_event, event_id
from nexus.domain.figures import Figures
from nexus.domain.reachability import Contact
from nexus.domain.run import Run, Stage
from nexus.domain.verdict import Verdict
from nexus.embedded.group_commit import GroupCommit, connect
from nexus.ports import Folded, HistoryEntry, Partition, RunFilter

__all__ = ["SqliteRunStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, algorithm TEXT NOT NULL, stage TEXT NOT NULL, tag TEXT NOT NULL, parent TEXT NOT NULL,
    received REAL NOT NULL, modified REAL NOT NULL, due REAL, uncollected REAL, state BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_algorithm ON runs (algorithm, id);
CREATE INDEX IF NOT EXISTS runs_by_tag ON runs (tag, id) WHERE tag != '';
CREATE INDEX IF NOT EXISTS runs_by_parent ON runs (parent, id) WHERE parent != '';
CREATE INDEX IF NOT EXISTS runs_due ON runs (due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_running ON runs (id) WHERE stage = 'RUNNING';
CREATE INDEX IF NOT EXISTS runs_uncollected ON runs (uncollected) WHERE uncollected IS NOT NULL;
CREATE TABLE IF NOT EXISTS history (
    id TEXT NOT NULL, event_id TEXT NOT NULL, offset INTEGER NOT NULL, event BLOB NOT NULL, PRIMARY KEY (id, event_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payloads (id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS heard (
    cluster TEXT NOT NULL, identity TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (cluster, identity)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdicts (
    cluster TEXT NOT NULL, digest TEXT NOT NULL, at INTEGER NOT NULL, refusal TEXT NOT NULL, PRIMARY KEY (cluster, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS figures (
    cluster TEXT NOT NULL, source TEXT NOT NULL, figures BLOB NOT NULL, PRIMARY KEY (cluster, source)
) WITHOUT ROWID;
"""

_UPSERT = """
INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
    stage = excluded.stage, tag = excluded.tag, modified = excluded.modified, due = excluded.due,
    uncollected = excluded.uncollected, state = excluded.state
"""

_HEAR = """
INSERT INTO heard VALUES (?, ?, ?) ON CONFLICT (cluster, identity) DO UPDATE SET at = MAX(at, excluded.at)
"""

_NOTE = "INSERT OR REPLACE INTO figures VALUES (?, ?, ?)"
_JUDGE = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)"
_FORGET = "DELETE FROM verdicts WHERE at < ?"
_REMEMBERED = timedelta(days=1)

_NEVER = datetime.min.replace(tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)

_decode_run = msgspec.json.Decoder(Run).decode
_encode_run = msgspec.json.Encoder().encode


class SqliteRunStore:
    """Reads are done on the loop's own thread: a few pages of a local file take less than two thread switches."""

    def __init__(self, path: Path) -> None:
        self._reader = connect(path)
        self._reader.executescript(_SCHEMA)
        self._folded: dict[Partition, datetime] = {}
        self._commits: GroupCommit[Sequence[Folded | Contact | Figures | Verdict], None] = GroupCommit(
            path, _apply
        )

    def close(self) -> None:
        self._commits.close()
        self._reader.close()

    async def get(self, request_id: str) -> Run | None:
        row = self._reader.execute("SELECT state FROM runs WHERE id = ?", (request_id,)).fetchone()
        return _decode_run(row[0]) if row else None

    async def get_many(self, request_ids: Sequence[str]) -> dict[str, Run]:
        runs = {}
        for start in range(0, len(request_ids), 500):
            some = request_ids[start : start + 500]
            marks = ",".join("?" * len(some))
            for key, state in self._reader.execute(f"SELECT id, state FROM runs WHERE id IN ({marks})", some):  # noqa: S608
                runs[key] = _decode_run(state)
        return runs

    async def payload(self, request_id: str) -> bytes | None:
        row = self._reader.execute("SELECT body FROM payloads WHERE id = ?", (request_id,)).fetchone()
        return row[0] if row else None

    async def history(self, request_id: str) -> list[HistoryEntry]:
        run = await self.get(request_id)
        if run is None:
            return []
        rows = self._reader.execute(
            "SELECT offset, event_id, event FROM history WHERE id = ? ORDER BY offset", (request_id,)
        )
        return [
            HistoryEntry(-1, event_id(run.request), run.request),
            *(HistoryEntry(offset, said, decode_event(event)) for offset, said, event in rows),
        ]

    async def find(self, where: RunFilter, limit: int, after: str = "") -> list[Run]:
        conditions: dict[str, object] = {
            "algorithm = ?": where.algorithm,
            "stage = ?": where.stage.value if where.stage else None,
            "tag = ? AND tag != ''": where.tag,
            "parent = ? AND parent != ''": where.parent,
            "received >= ?": where.since.timestamp() if where.since else None,
            "received < ?": where.until.timestamp() if where.until else None,
            "id < ?": after or None,
        }
        given = {sql: value for sql, value in conditions.items() if value is not None}
        clause = " AND ".join(given) or "true"
        rows = self._reader.execute(
            f"SELECT state FROM runs WHERE {clause} ORDER BY id DESC LIMIT ?",  # noqa: S608
            (*given.values(), limit),
        )
        return [_decode_run(state) for (state,) in rows]

    async def due(self, at: datetime, limit: int) -> list[Run]:
        rows = self._reader.execute(
            "SELECT state FROM runs WHERE due IS NOT NULL AND due <= ? ORDER BY due LIMIT ?",
            (at.timestamp(), limit),
        )
        return [_decode_run(state) for (state,) in rows]

    async def running(self, before: datetime, limit: int, after: str = "") -> list[Run]:
        rows = self._reader.execute(
            "SELECT state FROM runs WHERE stage = 'RUNNING' AND id > ? AND modified < ? ORDER BY id LIMIT ?",
            (after, before.timestamp(), limit),
        )
        return [_decode_run(state) for (state,) in rows]

    async def uncollected(self, before: datetime, limit: int) -> list[Run]:
        rows = self._reader.execute(
            "SELECT state FROM runs WHERE uncollected IS NOT NULL AND uncollected < ? ORDER BY uncollected LIMIT ?",
            (before.timestamp(), limit),
        )
        return [_decode_run(state) for (state,) in rows]

    async def write(self, changes: Sequence[Folded]) -> None:
        await self._commits.submit(changes)

    # One process owns the file: what a restart forgets of these, the ledger tells again at its first pass.

    async def expect(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            self._folded.setdefault(partition, _NEVER)

    async def advance(self, folded: Mapping[Partition, datetime]) -> None:
        for partition, until in folded.items():
            self._folded[partition] = max(until, self._folded.get(partition, until))

    async def folded(self) -> Mapping[Partition, datetime | None]:
        return {at: None if until == _NEVER else until for at, until in self._folded.items()}

    async def watermark(self) -> datetime | None:
        watermark = min(self._folded.values(), default=_NEVER)
        return None if watermark == _NEVER else watermark

    async def note_contacts(self, contacts: Sequence[Contact]) -> None:
        await self._commits.submit(contacts)

    async def contacts(self) -> list[Contact]:
        rows = self._reader.execute("SELECT cluster, identity, at FROM heard ORDER BY cluster, identity")
        return [Contact(cluster, identity, _EPOCH + at * _MICRO) for cluster, identity, at in rows]

    async def note_figures(self, figures: Sequence[Figures]) -> None:
        await self._commits.submit(figures)

    async def figures(self) -> list[Figures]:
        rows = self._reader.execute("SELECT figures FROM figures ORDER BY cluster, source")
        return [msgspec.json.decode(body, type=Figures) for (body,) in rows]

    async def judged(self, verdicts: Sequence[Verdict]) -> None:
        await self._commits.submit(verdicts)

    async def verdicts(self, cluster: str) -> list[Verdict]:
        rows = self._reader.execute("SELECT digest, at, refusal FROM verdicts WHERE cluster = ?", (cluster,))
        return [Verdict(cluster, digest, _EPOCH + at * _MICRO, refusal) for digest, at, refusal in rows]


def _apply(
    connection: sqlite3.Connection, items: Sequence[Sequence[Folded | Contact | Figures | Verdict]]
) -> list[None]:
    for together in items:
        heard = [
            (each.cluster, each.identity, (each.at - _EPOCH) // _MICRO)
            for each in together
            if isinstance(each, Contact)
        ]
        connection.executemany(_HEAR, heard)
        noted = [
            (each.cluster, each.source, msgspec.json.encode(each))
            for each in together
            if isinstance(each, Figures)
        ]
        connection.executemany(_NOTE, noted)
        for each in together:
            if isinstance(each, Verdict):
                at = (each.at - _EPOCH) // _MICRO
                connection.execute(_JUDGE, (each.cluster, each.digest, at, each.refusal))
                connection.execute(_FORGET, (at - _REMEMBERED // _MICRO,))
        item = [each for each in together if isinstance(each, Folded)]
        connection.executemany(_UPSERT, [_row(change.run) for change in item])
        connection.executemany(
            "INSERT OR IGNORE INTO history VALUES (?, ?, ?, ?)",
            [
                (change.run.id, entry.event_id, entry.offset, entry.event)
                for change in item
                for entry in change.history
            ],
        )
        connection.executemany(
            "INSERT OR IGNORE INTO payloads VALUES (?, ?)",
            [(change.run.id, change.payload) for change in item if change.payload is not None],
        )
    return [None] * len(items)


def _row(run: Run) -> tuple[object, ...]:
    request = run.request
    parent = request.parent.request_id if request.parent else ""
    deadlines = (request.placement_deadline, run.deferred_until or request.placement_deadline)
    due = min(deadlines).timestamp() if run.stage is Stage.BUFFERED else None
    uncollected = run.ended_at.timestamp() if run.ended_at and run.has_job else None
    return (
        run.id,
        request.algorithm,
        run.stage.value,
        run.tag,
        parent,
        request.at.timestamp(),
        run.last_modified.timestamp(),
        due,
        uncollected,
        _encode_run(run),
    )
