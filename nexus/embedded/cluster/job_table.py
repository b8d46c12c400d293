"""The Jobs that there are, as they were created: on the disk before `create` returns, and gone before `delete` does.

Everything else about a Job is in its folder. A folder without a manifest is what a deletion left.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from nexus.embedded.group_commit import GroupCommit, connect

__all__ = ["Manifests", "Stored"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity (uid TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (uid TEXT PRIMARY KEY, created TEXT NOT NULL, job BLOB NOT NULL);
"""

_Statement = tuple[str, tuple[Any, ...]]


class Stored(msgspec.Struct, frozen=True):
    """`created` is RFC 3339; `job` is the manifest as it was sent."""

    uid: str
    created: str
    job: dict[str, Any]


class Manifests:
    """Writes raise Unavailable when the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        connection = connect(path)
        connection.executescript(_SCHEMA)
        connection.execute(
            "INSERT INTO identity SELECT ? WHERE NOT EXISTS (SELECT 1 FROM identity)", (str(uuid.uuid4()),)
        )
        connection.close()
        self._writing: GroupCommit[_Statement, None] = GroupCommit(path, _apply)

    def close(self) -> None:
        self._writing.close()

    def identity(self) -> str:
        """A UUID, made with the file."""
        connection = connect(self._path)
        try:
            uid: str = connection.execute("SELECT uid FROM identity").fetchone()[0]
        finally:
            connection.close()
        return uid

    def stored(self) -> list[Stored]:
        """Every Job, oldest first."""
        connection = connect(self._path)
        try:
            rows = connection.execute("SELECT uid, created, job FROM jobs ORDER BY created").fetchall()
        finally:
            connection.close()
        return [Stored(uid, created, msgspec.json.decode(job)) for uid, created, job in rows]

    async def put(self, stored: Stored) -> None:
        """A new Job, or another manifest for one that is there."""
        row = (stored.uid, stored.created, msgspec.json.encode(stored.job))
        await self._writing.submit(("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", row))

    async def delete(self, uid: str) -> None:
        await self._writing.submit(("DELETE FROM jobs WHERE uid = ?", (uid,)))


def _apply(connection: sqlite3.Connection, statements: Sequence[_Statement]) -> list[None]:
    for statement, values in statements:
        connection.execute(statement, values)
    return [None] * len(statements)
