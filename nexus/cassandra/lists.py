"""Keeping and walking the lists of runs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple

from nexus.cassandra.driver import Row, Session, Statement, Write
from nexus.cassandra.list_keys import FAR, Listing, micros
from nexus.cassandra.statements import Statements
from nexus.cassandra.write_order import Stamp, Stamps
from nexus.recent import Recent

__all__ = ["Change", "Entry", "Lists", "Walk"]

_CHUNK = 100
"""Statements in a batch."""

_PAGE = 200
_WIDTH = 16
"""Buckets read at a time."""

_TOUCH_HOLDS = timedelta(seconds=30)
_SETTLED = timedelta(minutes=2)
"""A bucket that was touched longer ago gets no entry without being touched again, by clocks a minute apart at most."""

_LINGER = 24 * 3600
"""Seconds for which the directory outlives what it points at."""

_TIDIED = 8
"""Buckets looked at in one go."""


class Entry(NamedTuple):
    listing: Listing
    id: str
    algorithm: str


class Change(NamedTuple):
    """A run that comes into a list, or leaves it."""

    listing: Listing
    id: str
    algorithm: str
    stamp: Stamp


class Walk(NamedTuple):
    """Through the buckets from `low` to `high` of a list, in an order: by id from `bound` on, or by rank up to `bound`."""

    scope: str
    order: Literal["newest", "oldest", "ranked"]
    bound: str | int
    low: int = 0
    high: int = FAR


class Lists:
    def __init__(self, session: Session, statements: Statements, stamps: Stamps) -> None:
        self._session = session
        self._statements = statements
        self._stamps = stamps
        self._touched: Recent[tuple[str, int], int] = Recent(10_000)
        self._tidied: dict[str, int] = {}

    async def add(self, changes: Iterable[Change]) -> None:
        """The directory knows of each bucket before this returns, too."""
        clock = self._stamps.clock()
        now = micros(clock)
        by_bucket = _by_bucket(changes)
        old = now - _TOUCH_HOLDS // timedelta(microseconds=1)
        untouched = [bucket for bucket in by_bucket if self._touched.get(bucket, 0) < old]
        touch = self._statements.touch
        ttl = self._stamps.ttl(clock) + _LINGER
        stamp = (ttl, now) if self._stamps.timestamps else (ttl,)
        await self._session.write(
            [
                *(Write([Statement(touch, (*bucket, now, *stamp))]) for bucket in untouched),
                *_batches(
                    by_bucket,
                    lambda change: Statement(
                        self._statements.enlist,
                        (*change.listing, change.id, change.algorithm, *change.stamp),
                    ),
                ),
            ]
        )
        for bucket in untouched:
            self._touched.keep(bucket, now)

    async def remove(self, changes: Iterable[Change]) -> None:
        await self._session.write(
            _batches(
                _by_bucket(changes),
                lambda change: Statement(
                    self._statements.delist, (*change.stamp, *change.listing, change.id)
                ),
            )
        )

    async def walk(self, walk: Walk) -> AsyncIterator[Sequence[Entry]]:
        """Its entries, some at a time. They are hints: the run may have moved on."""
        statement = getattr(self._statements, walk.order)
        async for buckets in self._buckets(walk):
            firsts = await asyncio.gather(
                *(
                    self._session.page(statement, (walk.scope, bucket, walk.bound), size=_PAGE)
                    for bucket in buckets
                )
            )
            for bucket, page in zip(buckets, firsts, strict=True):
                while page.rows:
                    yield _entries(walk.scope, bucket, page.rows)
                    if page.following is None:
                        break
                    page = await self._session.page(
                        statement, (walk.scope, bucket, walk.bound), page.following, _PAGE
                    )

    async def _buckets(self, walk: Walk) -> AsyncIterator[list[int]]:
        """In groups that grow: a short page needs few of them."""
        statements = self._statements
        statement = statements.buckets_down if walk.order == "newest" else statements.buckets_up
        values = (walk.scope, walk.low, walk.high)
        width = 1
        following: bytes | None = None
        while True:
            rows, following = await self._session.page(statement, values, following, _PAGE)
            while rows:
                yield [bucket for (bucket,) in rows[:width]]
                rows = rows[width:]
                width = min(2 * width, _WIDTH)
            if following is None:
                return

    async def untidy(self, scope: str) -> list[Entry]:
        """Some entries of buckets that have settled, for the caller to check; buckets found empty are closed.

        Each call goes on where the last one stopped.
        """
        after = self._tidied.get(scope, -1)
        rows = await self._session.rows(self._statements.oldest_buckets, (scope, after, _TIDIED))
        self._tidied[scope] = rows[-1][0] if len(rows) == _TIDIED else -1
        settled = micros(self._stamps.clock() - _SETTLED)
        found: list[Entry] = []
        for bucket, touched in rows:
            if touched is None or touched >= settled:
                continue
            page = await self._session.page(self._statements.ranked, (scope, bucket, 1 << 62), size=_PAGE)
            found += _entries(scope, bucket, page.rows)
            if not page.rows:
                await self._close(scope, bucket, touched)
        return found

    async def _close(self, scope: str, bucket: int, touched: int) -> None:
        """Unless it was touched again meanwhile."""
        if self._stamps.timestamps:
            await self._session.write([Write([Statement(self._statements.close, (touched, scope, bucket))])])
        else:
            await self._session.change(self._statements.close, (scope, bucket, touched))


def _entries(scope: str, bucket: int, rows: Iterable[Row]) -> list[Entry]:
    return [Entry(Listing(scope, bucket, rank), key, algorithm) for rank, key, algorithm in rows]


def _by_bucket(changes: Iterable[Change]) -> Mapping[tuple[str, int], list[Change]]:
    found: defaultdict[tuple[str, int], list[Change]] = defaultdict(list)
    for change in changes:
        found[change.listing.scope, change.listing.bucket].append(change)
    return found


def _batches(
    by_bucket: Mapping[tuple[str, int], list[Change]], statement: Callable[[Change], Statement]
) -> Iterator[Write]:
    """A partition's changes together: ten rows cost little more than one."""
    for changes in by_bucket.values():
        for start in range(0, len(changes), _CHUNK):
            yield Write([statement(change) for change in changes[start : start + _CHUNK]])
