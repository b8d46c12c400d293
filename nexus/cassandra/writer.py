"""Writing what the ledger folded: each run's row, history and payload in one mutation of one partition.

The order makes a crash anywhere harmless. A run is put in its lists first, so that a row that is there is also found; the
row comes second; the lists that the run has left come last, and what is not removed there is a hint that readers check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from nexus.cassandra.driver import Row, Session, Statement, Write
from nexus.cassandra.list_keys import Listing, listings
from nexus.cassandra.lists import Change, Lists
from nexus.cassandra.rows import request_values, state_values
from nexus.cassandra.statements import Statements
from nexus.cassandra.write_order import BEGINNING, Stamps
from nexus.domain.run import Run
from nexus.ports import Folded
from nexus.recent import Recent

__all__ = ["Writer"]

_REMEMBERED = 20_000
_TOGETHER = 500
"""Runs whose lists are written in one go, and then their rows."""


class Writer:
    def __init__(self, session: Session, statements: Statements, stamps: Stamps, lists: Lists) -> None:
        self._session = session
        self._statements = statements
        self._stamps = stamps
        self._lists = lists
        self._listed: Recent[str, frozenset[Listing]] = Recent(_REMEMBERED)

    def seen(self, run: Run) -> None:
        """How the run was read: its next write need not repeat what is there already."""
        self._listed.keep(run.id, listings(run))

    async def write(self, changes: Sequence[Folded]) -> None:
        """Some at a time and side by side, so that the lists of some are written while others' rows are."""
        outcomes = await asyncio.gather(
            *(self._write(changes[start : start + _TOGETHER]) for start in range(0, len(changes), _TOGETHER)),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _write(self, changes: Sequence[Folded]) -> None:
        runs = [change.run for change in changes]
        new = {run.id: listings(run) for run in runs}
        ttls = {run.id: self._stamps.ttl(run.request.at) for run in runs}
        await self._lists.add(
            Change(listing, run.id, run.request.algorithm, self._stamps.of(ttls[run.id], run.position))
            for run in runs
            for listing in new[run.id] - self._listed.get(run.id, frozenset())
        )
        written = await self._put(changes, ttls)
        await self._lists.remove(
            Change(listing, run.id, run.request.algorithm, self._stamps.ending(run.position))
            for run in written
            for listing in self._listed.get(run.id, frozenset()) - new[run.id]
        )
        for run in written:
            self._listed.keep(run.id, new[run.id])

    async def _put(self, changes: Sequence[Folded], ttls: Mapping[str, int]) -> Sequence[Run]:
        """The runs that are as written now; a newer state stands."""
        if self._stamps.timestamps:
            await self._session.write(
                Write(
                    [*self._row(change.run, ttls[change.run.id]), *self._beside(change, ttls[change.run.id])]
                )
                for change in changes
            )
            return [change.run for change in changes]
        await self._session.write(
            Write(beside) for change in changes if (beside := self._beside(change, ttls[change.run.id]))
        )
        applied = await asyncio.gather(
            *(self._put_in_turn(change.run, ttls[change.run.id]) for change in changes)
        )
        return [change.run for change, done in zip(changes, applied, strict=True) if done]

    def _row(self, run: Run, ttl: int) -> list[Statement]:
        key = (run.request.algorithm, run.id)
        state = Statement(
            self._statements.put_state,
            (*key, *state_values(run), *self._stamps.of(ttl, run.position)),
        )
        if run.id in self._listed:
            return [state]
        request = Statement(
            self._statements.put_request,
            (*key, *request_values(run.request), *self._stamps.of(ttl, BEGINNING)),
        )
        return [request, state]

    def _beside(self, change: Folded, ttl: int) -> list[Statement]:
        request = change.run.request
        key = (request.algorithm, change.run.id)
        beside = [
            Statement(
                self._statements.put_event,
                (
                    *key,
                    entry.offset,
                    entry.event_id,
                    entry.event,
                    *self._stamps.of(ttl, entry.offset),
                ),
            )
            for entry in change.history
        ]
        if change.payload is not None:
            values = (*key, change.payload, *self._stamps.of(ttl, BEGINNING))
            beside.append(Statement(self._statements.put_payload, values))
        return beside

    async def _put_in_turn(self, run: Run, ttl: int) -> bool:
        """Only over an older state, where the store takes no timestamps. False where a newer one is there."""
        key = (run.request.algorithm, run.id)
        state = state_values(run)
        while True:
            row = await self._session.change(self._statements.update_run, (ttl, *state, *key, run.position))
            if row[0] or _is_there(row):
                return bool(row[0]) or row[1] == run.position
            row = await self._session.change(
                self._statements.insert_run, (*key, *request_values(run.request), *state, ttl)
            )
            if row[0]:
                return True


def _is_there(row: Row) -> bool:
    """A condition that failed shows what it was about, and nothing where there is no row."""
    return len(row) > 1 and row[1] is not None
