"""How far in time the log is folded, and when clusters were last heard: small partitions, the first read often."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from nexus.cassandra.driver import Session, Statement, Write
from nexus.cassandra.list_keys import micros
from nexus.cassandra.statements import Statements
from nexus.domain.reachability import Contact
from nexus.ports import Partition

__all__ = ["Progress"]

_RUNS = "runs"
_HEARD = "heard"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

_FRESH = 0.01
"""Seconds for which a watermark is told again: an older one is less, and promises less."""


class Progress:
    def __init__(self, session: Session, statements: Statements, *, timestamps: bool) -> None:
        self._session = session
        self._statements = statements
        self._timestamps = timestamps
        self._reading: asyncio.Task[datetime | None] | None = None
        self._read_at = 0.0

    async def expect(self, partitions: Collection[Partition]) -> None:
        await self._expect(_RUNS, partitions)

    async def _expect(self, what: str, partitions: Collection[Partition]) -> None:
        statement = self._statements.expect
        rows = [(what, *partition, _NEVER) for partition in partitions]
        if self._timestamps:
            await self._session.write(Write([Statement(statement, row)]) for row in rows)
        else:
            await asyncio.gather(*(self._session.change(statement, row) for row in rows))
        self._reading = None

    async def advance(self, folded: Mapping[Partition, datetime]) -> None:
        await self._advance(_RUNS, folded)

    async def note_contacts(self, contacts: Sequence[Contact]) -> None:
        """A cluster stands where a topic would."""
        await self._advance(
            _HEARD, {Partition(f"{each.cluster}/{each.identity}", 0): each.at for each in contacts}
        )

    async def contacts(self) -> list[Contact]:
        rows = await self._session.rows(self._statements.progress, (_HEARD,))
        found = [(*topic.partition("/"), until.replace(tzinfo=UTC)) for topic, _, until in rows]
        return [Contact(cluster, identity, at) for cluster, _, identity, at in found if at != _NEVER]

    async def _advance(self, what: str, folded: Mapping[Partition, datetime]) -> None:
        """Its timestamp is the time itself, so that the latest stands whoever writes last."""
        if self._timestamps and folded:
            statements = [
                Statement(self._statements.advance, (what, *partition, until, micros(until)))
                for partition, until in folded.items()
            ]
            await self._session.write([Write(statements)])
        elif folded:
            await self._expect(what, folded)
            await asyncio.gather(
                *(
                    self._session.change(self._statements.advance_if, (until, what, *partition, until))
                    for partition, until in folded.items()
                )
            )
        self._reading = None

    async def folded(self) -> Mapping[Partition, datetime | None]:
        rows = await self._session.rows(self._statements.progress, (_RUNS,))
        found = {Partition(topic, number): until.replace(tzinfo=UTC) for topic, number, until in rows}
        return {at: None if until == _NEVER else until for at, until in found.items()}

    async def watermark(self) -> datetime | None:
        """Who asks together is answered together."""
        now = asyncio.get_running_loop().time()
        if self._reading is None or (self._reading.done() and now - self._read_at > _FRESH):
            self._reading = asyncio.create_task(self._read())
            self._read_at = now
        return await asyncio.shield(self._reading)

    async def _read(self) -> datetime | None:
        rows = await self._session.rows(self._statements.progress, (_RUNS,))
        watermark = min((until.replace(tzinfo=UTC) for _, _, until in rows), default=_NEVER)
        return None if watermark == _NEVER else watermark
