"""One shard: what is there, what it lacks, and the writes that bring it up to date. It waits for no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from nexus.backoff import Backoff
from nexus.domain.errors import ConfigError, NexusError, NotFound, Refused, Unavailable
from nexus.domain.sync.copies import Delete, Sight, Write, copies, decide, orphans, owners
from nexus.domain.sync.guard import Guard
from nexus.domain.sync.objects import KINDS, Key, Object
from nexus.domain.sync.source import Source
from nexus.domain.sync.standing import LACKS_KINDS, SEEN_TWICE, UNREACHABLE, Standing, standing
from nexus.ports import ObjectChange, Objects
from streams.controller.following import Following, is_news
from streams.controller.metrics import WRITES, Gauges
from streams.controller.queue import Queue

__all__ = ["Ground", "Shard"]

_WORKERS = 8
_PATIENCE = 30.0
"""Seconds: a shard that was away for less is not worth a word on every template."""

_log = structlog.get_logger(__name__)


class Ground(NamedTuple):
    """What all shards of one controller stand on."""

    here: Source
    installation: str
    interval: float
    """Seconds between two comparisons of everything."""
    identities: dict[str, str]
    """The cluster behind each identity, that of the source included."""
    monotonic: Callable[[], float]
    chance: Callable[[], float]


class Shard:
    """`concerned` is told of each source whose standing here may be another now."""

    def __init__(
        self,
        name: str,
        opens: Callable[[], Awaitable[Objects]],
        ground: Ground,
        concerned: Callable[[set[Key]], None],
    ) -> None:
        self.name = name
        self._opens = opens
        self._ground = ground
        self._here = ground.here
        self._concerned = concerned
        self._there: dict[Key, Object] = {}
        self._failures: dict[Key, str] = {}
        self._queue = Queue(self._reconcile, _WORKERS, ground.chance)
        self._guard = Guard()
        self._unlisted = set(KINDS)
        self._lost: dict[str, tuple[float, Standing]] = {}
        self._problem: Standing | None = None

    async def run(self) -> None:
        """Until cancelled."""
        self._objects = await self._open()
        following = Following(
            self._objects,
            self._ground.interval,
            listed=self._listed,
            changed=self._changed,
            heard=self._heard,
            lost=self._not_heard,
        )
        await following.run()

    def look_at(self, keys: set[Key]) -> None:
        """These have changed in the source."""
        if not self._unlisted:
            self._queue.add(*keys)

    def standing(self, key: Key) -> Standing | None:
        """Of a source; None where it is not known yet."""
        if self._problem or self._unlisted:
            return self._problem
        # A write that is under way may make what is to be gone.
        if self._here.objects[key].deleting and self._queue.is_busy(key, *self._here.references(key)):
            return None
        return standing(key, self._sight, self._failures)

    def gauges(self) -> Gauges:
        there = 0 if self._unlisted else len(copies(self._sight))
        unreachable = self._problem is not None
        return Gauges(self.name, self._queue.waiting, self._queue.failing, there, unreachable)

    @property
    def queue(self) -> Queue:
        return self._queue

    @property
    def _sight(self) -> Sight:
        return Sight(self._here, self._there, self.name, self._ground.installation, self._guard.doomed)

    async def _open(self) -> Objects:
        backoff = Backoff()
        while True:
            try:
                objects = await self._opens()
                identity = await objects.identity()
            except (ConfigError, Unavailable) as error:
                self._not_heard("identity", error)
            else:
                other = self._ground.identities.setdefault(identity, self.name)
                if other == self.name:
                    self._heard("identity")
                    return objects
                text = f"this is the cluster {other} as well: take one of the two kubeconfigs away"
                self._say(Standing("False", SEEN_TWICE, text))
            await backoff.pause()

    def _listed(self, kind: str, objects: list[Object]) -> None:
        listed = {Key(kind, each.metadata.name): each for each in objects}
        for key in [key for key in self._there if key.kind == kind and key not in listed]:
            del self._there[key]
        self._there |= listed
        self._unlisted.discard(kind)
        self.compare()

    def compare(self) -> None:
        """Look at everything that is here or there."""
        if self._unlisted or not self._here.lists:
            return
        sight = self._sight
        ours = copies(sight)
        waiting = self._guard.look(orphans(sight), len(ours), self._here.lists)
        if waiting:
            _log.warning("copies_without_source", cluster=self.name, count=waiting, of=len(ours))
        keys = {*self._here.objects, *ours}
        self._queue.add(*sorted(keys))
        self._tell(keys)

    def _changed(self, key: Key, change: ObjectChange) -> None:
        known = self._there.get(key)
        if not is_news(known, change.object):
            return
        if change.kind == "DELETED":
            self._there.pop(key, None)
        else:
            self._there[key] = change.object
        self._touched(key, known)

    def _touched(self, key: Key, before: Object | None) -> None:
        """With what depends on it: a template on what it names, and on what its copy owns, as long as that is there."""
        keys = {key, *self._here.references(key), *self._here.users(key)}
        if not self._unlisted:
            self._queue.add(*sorted(keys))
        self._tell(keys | (owners(before) if before else set()))

    def _tell(self, keys: set[Key]) -> None:
        self._concerned(set[Key]().union(*(self._here.concerns(key) for key in keys)))

    async def _reconcile(self, key: Key) -> bool:
        write = decide(key, self._sight)
        if write is None:
            self._failures.pop(key, None)
            self._tell({key})
            return True
        before = self._there.get(key)
        try:
            done = await self._write(write)
        except (Refused, Unavailable) as error:
            _log.warning(
                "copy_not_written", cluster=self.name, kind=key.kind, object=key.name, problem=str(error)
            )
            WRITES.labels(self.name, "failed").inc()
            self._failures[key] = str(error)
            self._tell({key})
            return False
        self._failures.pop(key, None)
        if done:
            WRITES.labels(self.name, "done").inc()
            self._touched(key, before)
        return done

    async def _write(self, write: Write) -> bool:
        """False where the shard has changed meanwhile, which the watch is about to tell."""
        if isinstance(write, Delete):
            await self._objects.delete(write.key, write.uid)
            known = self._there.get(write.key)
            # Where something keeps it there, the watch tells so.
            if known and known.metadata.uid == write.uid and not known.metadata.finalizers:
                del self._there[write.key]
            return True
        copy = await self._objects.apply(write)
        if copy is None:
            return False
        if is_news(self._there.get(write.key), copy):
            self._there[write.key] = copy
        return True

    def _heard(self, kind: str) -> None:
        self._lost.pop(kind, None)
        if not self._lost and self._problem:
            self._say(None)

    def _not_heard(self, kind: str, error: NexusError) -> None:
        now = self._ground.monotonic()
        if isinstance(error, NotFound):
            said = Standing("False", LACKS_KINDS, str(error))
        else:
            said = Standing("Unknown", UNREACHABLE, str(error))
        since, _ = self._lost.get(kind, (now, said))
        self._lost[kind] = since, said
        if self._unlisted or now - since > _PATIENCE:
            worst = self._lost[min(self._lost)][1]
            # In the words in which it was first said: each source's status would change with every other.
            if self._problem is None or self._problem.reason != worst.reason:
                self._say(worst)

    def _say(self, problem: Standing | None) -> None:
        if problem != self._problem:
            self._problem = problem
            self._concerned({key for key in self._here.objects if self._here.concerns(key) == {key}})
