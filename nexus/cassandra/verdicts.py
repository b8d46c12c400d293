"""Verdicts of clusters on Jobs: a small partition for each cluster, the last one stands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from nexus.cassandra.driver import Session, Statement, Write
from nexus.cassandra.statements import Statements
from nexus.domain.verdict import Verdict

__all__ = ["StoredVerdicts"]


class StoredVerdicts:
    def __init__(self, session: Session, statements: Statements) -> None:
        self._session = session
        self._statements = statements

    async def put(self, verdicts: Sequence[Verdict]) -> None:
        await self._session.write(
            Write([Statement(self._statements.judge, (each.cluster, each.digest, each.at, each.refusal))])
            for each in verdicts
        )

    async def of(self, cluster: str) -> list[Verdict]:
        rows = await self._session.rows(self._statements.verdicts, (cluster,))
        return [
            Verdict(cluster, digest, at.replace(tzinfo=UTC), refusal or "") for digest, at, refusal in rows
        ]
