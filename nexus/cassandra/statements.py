"""Every statement of the run store, prepared once. All name their partition, but for sets of runs, which name each run."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from nexus.cassandra.driver import Prepared, Session
from nexus.cassandra.rows import CHECKPOINT, REQUEST, STATE

__all__ = ["Statements", "prepare", "texts"]

_RUN = ("algorithm", "id")
_ENTRY = ("scope", "bucket", "rank", "id", "algorithm")
_LISTED = "SELECT rank, id, algorithm FROM listings WHERE scope = ? AND bucket = ?"


class Statements(NamedTuple):
    """`update_run` and `insert_run` are for stores that take no timestamps."""

    rows: Prepared
    checkpoint: Prepared
    payload: Prepared
    history: Prepared
    algorithms: Prepared

    put_request: Prepared
    put_state: Prepared
    insert_run: Prepared
    update_run: Prepared
    put_event: Prepared
    put_payload: Prepared

    enlist: Prepared
    delist: Prepared
    newest: Prepared
    oldest: Prepared
    ranked: Prepared

    touch: Prepared
    close: Prepared
    buckets_down: Prepared
    buckets_up: Prepared
    oldest_buckets: Prepared

    expect: Prepared
    advance: Prepared
    advance_if: Prepared
    progress: Prepared

    judge: Prepared
    verdicts: Prepared
    note: Prepared
    figures: Prepared


async def prepare(session: Session, *, timestamps: bool) -> Statements:
    """`timestamps`: whether writes say when they are, else they follow each other as they come."""
    cql = texts(timestamps=timestamps)
    return Statements(*await asyncio.gather(*(session.prepare(getattr(cql, name)) for name in cql._fields)))


def texts(*, timestamps: bool) -> Statements:
    using = " USING TTL ? AND TIMESTAMP ?" if timestamps else " USING TTL ?"
    at = " USING TIMESTAMP ?" if timestamps else ""
    return Statements(
        rows="SELECT id, state FROM checkpoints WHERE algorithm = ? AND id IN ?",
        checkpoint=f"SELECT state, {', '.join(CHECKPOINT)} FROM checkpoints WHERE algorithm = ? AND id = ?",
        payload="SELECT body FROM payloads WHERE algorithm = ? AND id = ?",
        history="SELECT position, event_id, event FROM run_events WHERE algorithm = ? AND id = ?",
        algorithms="SELECT id, algorithm FROM listings WHERE scope = ? AND bucket = ? AND rank = 0 AND id IN ?",
        put_request=_insert("checkpoints", (*_RUN, *REQUEST)) + using,
        put_state=_insert("checkpoints", (*_RUN, *STATE)) + using,
        insert_run=_insert("checkpoints", (*_RUN, *REQUEST, *STATE)) + " IF NOT EXISTS USING TTL ?",
        update_run=f"UPDATE checkpoints USING TTL ? SET {', '.join(f'{name} = ?' for name in STATE)} "
        "WHERE algorithm = ? AND id = ? IF position < ?",
        put_event=_insert("run_events", (*_RUN, "position", "event_id", "event")) + using,
        put_payload=_insert("payloads", (*_RUN, "body")) + using,
        enlist=_insert("listings", _ENTRY) + using,
        delist=f"DELETE FROM listings{at} WHERE scope = ? AND bucket = ? AND rank = ? AND id = ?",
        newest=f"{_LISTED} AND rank = 0 AND id < ? ORDER BY rank DESC, id DESC",
        oldest=f"{_LISTED} AND rank = 0 AND id > ?",
        ranked=f"{_LISTED} AND rank <= ?",
        touch=_insert("buckets", ("scope", "bucket", "touched")) + using,
        close=f"DELETE FROM buckets{at} WHERE scope = ? AND bucket = ?"
        + ("" if timestamps else " IF touched = ?"),
        buckets_down="SELECT bucket FROM buckets WHERE scope = ? AND bucket >= ? AND bucket <= ? ORDER BY bucket DESC",
        buckets_up="SELECT bucket FROM buckets WHERE scope = ? AND bucket >= ? AND bucket <= ?",
        oldest_buckets="SELECT bucket, touched FROM buckets WHERE scope = ? AND bucket > ? LIMIT ?",
        expect=_insert("progress", ("projection", "topic", "number", "until"))
        + (" USING TIMESTAMP 1" if timestamps else " IF NOT EXISTS"),
        advance=_insert("progress", ("projection", "topic", "number", "until")) + at,
        advance_if="UPDATE progress SET until = ? WHERE projection = ? AND topic = ? AND number = ? IF until < ?",
        progress="SELECT topic, number, until FROM progress WHERE projection = ?",
        judge=_insert("verdicts", ("cluster", "digest", "at", "refusal")),
        verdicts="SELECT digest, at, refusal FROM verdicts WHERE cluster = ?",
        note=_insert("figures", ("scope", "cluster", "source", "figures")),
        figures="SELECT figures FROM figures WHERE scope = ?",
    )


def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
