"""The controller: follows what is described in one cluster, and keeps the status of each source for all shards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import timedelta

import structlog

from nexus.backoff import retry
from nexus.domain.errors import Refused, Unavailable
from nexus.domain.sync.objects import FINALIZER, SOURCES, Key, Object, Status
from nexus.domain.sync.source import Source
from nexus.domain.sync.standing import Standing
from nexus.domain.sync.status import Notice, initial, is_done_with, notices, status
from nexus.ports import ObjectChange, Objects
from streams.controller.following import Following, is_news
from streams.controller.metrics import Gauges, shown
from streams.controller.queue import Queue
from streams.controller.shard import Ground, Shard
from streams.processor import Clock

__all__ = ["COMPARE_EVERY", "Controller"]

COMPARE_EVERY = timedelta(minutes=10)
_WORKERS = 16
"""Each source has four writes in its own cluster, and one in each shard."""

_log = structlog.get_logger(__name__)


class Controller:
    """For one term of leadership. Nothing is kept but in the clusters: the next one begins with a list of everything.

    `shards` are those that are there from the start; others come and go with `sync`.
    """

    def __init__(
        self,
        home: Objects,
        shards: Mapping[str, Callable[[], Awaitable[Objects]]],
        installation: str,
        *,
        removed: Collection[str],
        clock: Clock,
        monotonic: Callable[[], float],
        chance: Callable[[], float],
        compare_every: timedelta = COMPARE_EVERY,
    ) -> None:
        self._home = home
        self._here = Source()
        self._removed = removed
        self._clock = clock
        self._queue = Queue(self._settle, _WORKERS, chance)
        self._interval = compare_every.total_seconds()
        self._identities: dict[str, str] = {}
        self._ground = Ground(self._here, installation, self._interval, self._identities, monotonic, chance)
        self._at_start = shards
        self._shards: dict[str, Shard] = {}
        self._begun = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self._identities[await retry(self._home.identity)] = self._home.name
        self._begun.set()
        following = Following(self._home, self._interval, listed=self._listed, changed=self._changed)
        with shown(self):
            async with asyncio.TaskGroup() as group:
                group.create_task(following.run())
                group.create_task(self._queue.run())
                for name, opens in self._at_start.items():
                    group.create_task(self.sync(name, opens))

    def gauges(self) -> Iterator[Gauges]:
        """Of the cluster of the sources, which has no copies, and of each shard."""
        yield Gauges(self._home.name, self._queue.waiting, self._queue.failing, 0, unreachable=False)
        for shard in self._shards.values():
            yield shard.gauges()

    async def sync(self, name: str, opens: Callable[[], Awaitable[Objects]]) -> None:
        """Keep a shard up to date beside those from the start, until cancelled: then it is not asked any more."""
        shard = self._shards[name] = Shard(name, opens, self._ground, self._concerned)
        try:
            await self._begun.wait()
            self._concerned({key for key in self._here.objects if key.kind in SOURCES})
            async with asyncio.TaskGroup() as group:
                group.create_task(shard.run())
                group.create_task(shard.queue.run())
        finally:
            del self._shards[name]
            for identity in [of for of, cluster in self._identities.items() if cluster == name]:
                del self._identities[identity]
            self._concerned({key for key in self._here.objects if key.kind in SOURCES})

    def _listed(self, kind: str, objects: list[Object]) -> None:
        first = not self._here.lists
        changed = self._here.replace(kind, objects)
        if first and self._here.lists:
            for shard in self._shards.values():
                shard.compare()
            changed = set(self._here.objects)
        self._look_at(changed)

    def _changed(self, key: Key, change: ObjectChange) -> None:
        if change.kind == "DELETED":
            self._look_at(self._here.remove(key))
        elif is_news(self._here.objects.get(key), change.object):
            self._take(key, change.object)

    def _take(self, key: Key, thing: Object) -> None:
        self._look_at(self._here.put(key, thing))

    def _look_at(self, changed: set[Key]) -> None:
        if not self._here.lists:
            return
        for shard in self._shards.values():
            shard.look_at(changed)
        self._concerned(set[Key]().union(*(self._here.concerns(key) for key in changed)))

    def _concerned(self, sources: set[Key]) -> None:
        self._queue.add(*sources)

    async def _settle(self, key: Key) -> bool:
        """Bring a source's finalizer and status up to date."""
        source = self._here.objects.get(key)
        if source is None or key.kind not in SOURCES:
            return True
        try:
            return await self._settled(key, source)
        except (Refused, Unavailable) as error:
            _log.warning("source_not_settled", kind=key.kind, object=key.name, problem=str(error))
            return False

    async def _settled(self, key: Key, source: Object) -> bool:
        now = self._clock()
        if not source.deleting and FINALIZER not in source.metadata.finalizers:
            return await self._finalizers(key, source, [*source.metadata.finalizers, FINALIZER])
        standings: dict[str, Standing | None] = {
            shard.name: shard.standing(key) for shard in self._shards.values()
        }
        if source.deleting:
            if FINALIZER not in source.metadata.finalizers:
                return True
            given_up = is_done_with(source, standings, self._removed, now)
            if given_up is not None:
                return await self._let_go(key, source, given_up)
        first = initial(key, source, now)
        after = first or status(key, self._here, standings, self._removed, now)
        return after is None or await self._write(key, source, after, now_first=first is not None)

    async def _write(self, key: Key, source: Object, after: Status, *, now_first: bool) -> bool:
        """The Events first: a status that is written is the end of it."""
        if not now_first:
            for notice in notices(key, source.status, after):
                await self._record(key, source, notice)
        written = await self._home.set_status(key, source, after)
        if written is not None:
            self._take(key, written)
        return written is not None

    async def _record(self, key: Key, source: Object, notice: Notice) -> None:
        """An Event that is refused holds nothing up: the conditions say the same."""
        try:
            await self._home.record(key, source, notice, self._clock())
        except Refused as error:
            _log.warning("event_refused", kind=key.kind, object=key.name, problem=str(error))

    async def _let_go(self, key: Key, source: Object, given_up: list[str]) -> bool:
        for shard in given_up:
            text = f'Cluster "{shard}" was unreachable for an hour: what it has of {key.kind} "{key.name}" goes when it is back'
            await self._record(key, source, Notice("Warning", "ClusterGivenUp", text))
        kept = [each for each in source.metadata.finalizers if each != FINALIZER]
        return await self._finalizers(key, source, kept)

    async def _finalizers(self, key: Key, source: Object, finalizers: list[str]) -> bool:
        changed = await self._home.set_finalizers(key, source, finalizers)
        if changed is None:
            return False
        if changed.deleting and not changed.metadata.finalizers:
            self._look_at(self._here.remove(key))
        else:
            self._take(key, changed)
        return True
