"""Claims of `Idempotency-Key`s on a SQLite file of their own: a rebuild of the projections leaves them alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from nexus.embedded.group_commit import GroupCommit
from nexus.ports import Claim

__all__ = ["SqliteClaims"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (
    algorithm TEXT NOT NULL, key TEXT NOT NULL, body_hash TEXT NOT NULL, request BLOB NOT NULL,
    PRIMARY KEY (algorithm, key)
)
"""


class SqliteClaims:
    def __init__(self, path: Path) -> None:
        self._commits: GroupCommit[tuple[str, str, Claim], Claim] = GroupCommit(path, _apply)

    def close(self) -> None:
        self._commits.close()

    async def claim(self, algorithm: str, key: str, claim: Claim) -> Claim:
        return await self._commits.submit((algorithm, key, claim))


def _apply(connection: sqlite3.Connection, items: Sequence[tuple[str, str, Claim]]) -> list[Claim]:
    connection.execute(_SCHEMA)
    standing = []
    for algorithm, key, claim in items:
        connection.execute(
            "INSERT OR IGNORE INTO claims VALUES (?, ?, ?, ?)",
            (algorithm, key, claim.body_hash, claim.request),
        )
        row = connection.execute(
            "SELECT body_hash, request FROM claims WHERE algorithm = ? AND key = ?", (algorithm, key)
        ).fetchone()
        standing.append(Claim(*row))
    return standing
