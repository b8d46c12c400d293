"""What processes tell of clusters: one small partition, in which each has a row for each cluster."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nexus.cassandra.driver import Session, Statement, Write
from nexus.cassandra.statements import Statements
from nexus.domain.figures import Figures

__all__ = ["StoredFigures"]

_ALL = "all"

_decode = msgspec.json.Decoder(Figures).decode


class StoredFigures:
    def __init__(self, session: Session, statements: Statements) -> None:
        self._session = session
        self._statements = statements

    async def put(self, figures: Sequence[Figures]) -> None:
        await self._session.write(
            Write(
                [
                    Statement(
                        self._statements.note, (_ALL, each.cluster, each.source, msgspec.json.encode(each))
                    )
                ]
            )
            for each in figures
        )

    async def all(self) -> list[Figures]:
        return [_decode(body) for (body,) in await self._session.rows(self._statements.figures, (_ALL,))]
