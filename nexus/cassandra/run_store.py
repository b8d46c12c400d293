"""The projections on Cassandra."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from nexus.cassandra import list_keys
from nexus.cassandra.driver import Session
from nexus.cassandra.figures import StoredFigures
from nexus.cassandra.gathering import Gathered
from nexus.cassandra.list_keys import bucket_at, bucket_of, micros
from nexus.cassandra.lists import Change, Entry, Lists, Walk
from nexus.cassandra.progress import Progress
from nexus.cassandra.rows import CHECKPOINT, decode_run, run_of_checkpoint
from nexus.cassandra.statements import Statements, prepare
from nexus.cassandra.verdicts import StoredVerdicts
from nexus.cassandra.write_order import Stamps
from nexus.cassandra.writer import Writer
from nexus.config import Cassandra
from nexus.domain.events import decode_event, event_id
from nexus.domain.figures import Figures
from nexus.domain.reachability import Contact
from nexus.domain.run import Run, Stage
from nexus.domain.verdict import Verdict
from nexus.ports import Folded, HistoryEntry, Partition, RunFilter
from nexus.recent import Recent

__all__ = ["CassandraRunStore"]

_SET = 16
"""Runs asked for in one statement: more of them are more work for one node."""

_SKEW = 8
"""Buckets by which the time in an id may differ from when its run was received."""

_REMEMBERED = 50_000
_LAST_ID = "~"


class CassandraRunStore:
    """A run's tables share the key (algorithm, id), which is upstream's; the list of all runs tells the algorithm of an id."""

    def __init__(self, session: Session, statements: Statements, stamps: Stamps) -> None:
        self._session = session
        self._statements = statements
        self._stamps = stamps
        self._lists = Lists(session, statements, stamps)
        self._writer = Writer(session, statements, stamps, self._lists)
        self._progress = Progress(session, statements, timestamps=stamps.timestamps)
        self._verdicts = StoredVerdicts(session, statements)
        self._figures = StoredFigures(session, statements)
        self._algorithms: Recent[str, str] = Recent(_REMEMBERED)
        self._single: Gathered[Run] = Gathered(self._read)

    @classmethod
    async def open(
        cls, session: Session, config: Cassandra, clock: Callable[[], datetime]
    ) -> CassandraRunStore:
        """Raises ConfigError where the schema is missing."""
        timestamps = config.flavour != "keyspaces"  # which refuses those that are not of its own clock
        statements = await prepare(session, timestamps=timestamps)
        return cls(session, statements, Stamps(config.row_lifetime, clock, timestamps))

    async def get(self, request_id: str) -> Run | None:
        return await self._single.get(request_id)

    async def get_many(self, request_ids: Sequence[str]) -> dict[str, Run]:
        runs = await self._read(request_ids)
        for run in runs.values():
            self._writer.seen(run)
        return runs

    async def checkpoint(self, algorithm: str, request_id: str) -> Run | None:
        """A row that upstream may have written, and that is in none of our lists."""
        rows = await self._session.rows(self._statements.checkpoint, (algorithm, request_id))
        if not rows:
            return None
        state, *columns = rows[0]
        return decode_run(state) if state else run_of_checkpoint(dict(zip(CHECKPOINT, columns, strict=True)))

    async def payload(self, request_id: str) -> bytes | None:
        key = await self._key(request_id)
        rows = await self._session.rows(self._statements.payload, key) if key else []
        return rows[0][0] if rows else None

    async def history(self, request_id: str) -> list[HistoryEntry]:
        run = await self.get(request_id)
        if run is None:
            return []
        key = (run.request.algorithm, request_id)
        entries = [HistoryEntry(-1, event_id(run.request), run.request)]
        said = set()
        for offset, what, event in await self._session.rows(self._statements.history, key):
            if what not in said:
                said.add(what)
                entries.append(HistoryEntry(offset, what, decode_event(event)))
        return entries

    async def find(self, where: RunFilter, limit: int, after: str = "") -> list[Run]:
        scope = _scope(where)
        if scope is None:
            return []
        walk = Walk(
            scope,
            "newest",
            after or _LAST_ID,
            low=bucket_at(where.since) - _SKEW if where.since else 0,
            high=min(
                bucket_at(where.until) + _SKEW if where.until else list_keys.FAR,
                bucket_of(after) if after else list_keys.FAR,
            ),
        )
        return await self._first(walk, limit, lambda run: _holds(where, run), where.algorithm)

    async def due(self, at: datetime, limit: int) -> list[Run]:
        await self._tidy(list_keys.DUE, list_keys.of_stage(Stage.BUFFERED))
        return await self._first(Walk(list_keys.DUE, "ranked", micros(at), high=bucket_at(at)), limit)

    async def running(self, before: datetime, limit: int, after: str = "") -> list[Run]:
        scope = list_keys.of_stage(Stage.RUNNING)
        await self._tidy(scope)
        walk = Walk(
            scope, "oldest", after, low=bucket_of(after) if after else 0, high=bucket_at(before) + _SKEW
        )
        return await self._first(walk, limit, lambda run: run.last_modified < before)

    async def uncollected(self, before: datetime, limit: int) -> list[Run]:
        await self._tidy(list_keys.UNCOLLECTED)
        walk = Walk(list_keys.UNCOLLECTED, "ranked", micros(before) - 1, high=bucket_at(before))
        return await self._first(walk, limit)

    async def write(self, changes: Sequence[Folded]) -> None:
        await self._writer.write(changes)
        for change in changes:
            self._algorithms.keep(change.run.id, change.run.request.algorithm)

    async def expect(self, partitions: Collection[Partition]) -> None:
        await self._progress.expect(partitions)

    async def advance(self, folded: Mapping[Partition, datetime]) -> None:
        await self._progress.advance(folded)

    async def folded(self) -> Mapping[Partition, datetime | None]:
        return await self._progress.folded()

    async def watermark(self) -> datetime | None:
        return await self._progress.watermark()

    async def note_contacts(self, contacts: Sequence[Contact]) -> None:
        await self._progress.note_contacts(contacts)

    async def contacts(self) -> list[Contact]:
        return await self._progress.contacts()

    async def note_figures(self, figures: Sequence[Figures]) -> None:
        await self._figures.put(figures)

    async def figures(self) -> list[Figures]:
        return await self._figures.all()

    async def judged(self, verdicts: Sequence[Verdict]) -> None:
        await self._verdicts.put(verdicts)

    async def verdicts(self, cluster: str) -> list[Verdict]:
        return await self._verdicts.of(cluster)

    async def _first(
        self,
        walk: Walk,
        limit: int,
        wanted: Callable[[Run], bool] = lambda _: True,
        algorithm: str | None = None,
    ) -> list[Run]:
        """As many runs of a list, whose rows agree that they are in it."""
        found: list[Run] = []
        async for entries in self._lists.walk(walk):
            some = [entry for entry in entries if algorithm in {None, entry.algorithm}]
            for start in range(0, len(some), limit):
                part = some[start : start + limit]
                runs = await self._rows((entry.algorithm, entry.id) for entry in part)
                found += [
                    run
                    for entry in part
                    if (run := runs.get(entry.id)) and _agrees(entry, run) and wanted(run)
                ]
                if len(found) >= limit:
                    return found[:limit]
        return found

    async def _tidy(self, *scopes: str) -> None:
        """Remove what disagrees from lists that runs pass through."""
        for scope in scopes:
            entries = await self._lists.untidy(scope)
            runs = await self._rows((entry.algorithm, entry.id) for entry in entries)
            await self._lists.remove(
                Change(entry.listing, entry.id, entry.algorithm, self._stamps.ending(run.position))
                for entry in entries
                if (run := runs.get(entry.id)) and not _agrees(entry, run)
            )

    async def _read(self, request_ids: Sequence[str]) -> dict[str, Run]:
        await self._learn_algorithms(key for key in request_ids if key not in self._algorithms)
        return await self._rows(
            (self._algorithms[key], key) for key in request_ids if key in self._algorithms
        )

    async def _key(self, request_id: str) -> tuple[str, str] | None:
        if request_id not in self._algorithms:
            await self._learn_algorithms([request_id])
        algorithm = self._algorithms.get(request_id)
        return (algorithm, request_id) if algorithm is not None else None

    async def _learn_algorithms(self, request_ids: Iterable[str]) -> None:
        by_bucket = defaultdict(list)
        for key in request_ids:
            by_bucket[bucket_of(key)].append(key)
        asked = (
            self._session.rows(self._statements.algorithms, (list_keys.ALL, bucket, some))
            for bucket, keys in by_bucket.items()
            for some in _cut(keys, 10 * _SET)
        )
        for rows in await asyncio.gather(*asked):
            for key, algorithm in rows:
                self._algorithms.keep(key, algorithm)

    async def _rows(self, keys: Iterable[tuple[str, str]]) -> dict[str, Run]:
        by_algorithm = defaultdict(list)
        for algorithm, request_id in keys:
            by_algorithm[algorithm].append(request_id)
        asked = (
            self._session.rows(self._statements.rows, (algorithm, some))
            for algorithm, ids in by_algorithm.items()
            for some in _cut(ids, _SET)
        )
        answers = await asyncio.gather(*asked)
        return {key: decode_run(state) for rows in answers for key, state in rows if state is not None}


def _scope(where: RunFilter) -> str | None:
    """The shortest list that holds all that is asked for; none for what no run has."""
    if where.tag == "" or where.parent == "":
        return None
    if where.parent is not None:
        return list_keys.of_parent(where.parent)
    if where.tag is not None:
        return list_keys.of_tag(where.tag)
    if where.stage is not None and (where.stage is not Stage.COMPLETED or where.algorithm is None):
        return list_keys.of_stage(
            where.stage
        )  # but for COMPLETED, few of an algorithm's runs are in one stage
    return list_keys.of_algorithm(where.algorithm) if where.algorithm is not None else list_keys.ALL


def _holds(where: RunFilter, run: Run) -> bool:
    request = run.request
    return (
        where.algorithm in {None, request.algorithm}
        and where.stage in {None, run.stage}
        and where.tag in {None, run.tag}
        and (
            where.parent is None or (request.parent is not None and request.parent.request_id == where.parent)
        )
        and (where.since is None or request.at >= where.since)
        and (where.until is None or request.at < where.until)
    )


def _agrees(entry: Entry, run: Run) -> bool:
    return entry.listing in list_keys.listings(run)


def _cut(keys: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
