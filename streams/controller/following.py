"""Following all kinds of objects of one cluster, over its absences."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing

import structlog

from nexus.backoff import Backoff
from nexus.domain.errors import NexusError, NotFound, Unavailable
from nexus.domain.sync.objects import KINDS, Key, Object
from nexus.ports import ObjectChange, Objects

__all__ = ["Following", "is_news"]

_log = structlog.get_logger(__name__)


class Following:
    """Lists each kind in whole every `interval` seconds, and hears of every change between."""

    def __init__(
        self,
        objects: Objects,
        interval: float,
        *,
        listed: Callable[[str, list[Object]], None],
        changed: Callable[[Key, ObjectChange], None],
        heard: Callable[[str], None] = lambda _: None,
        lost: Callable[[str, NexusError], None] = lambda *_: None,
    ) -> None:
        self._objects = objects
        self._interval = interval
        self._listed = listed
        self._changed = changed
        self._heard = heard
        self._lost = lost
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in KINDS:
                group.create_task(self._follow(kind))

    async def _follow(self, kind: str) -> None:
        backoff = Backoff()
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._hear(kind)
            except TimeoutError:
                continue
            except (NotFound, Unavailable) as error:
                _log.warning(
                    "objects_not_followed", cluster=self._objects.name, kind=kind, problem=str(error)
                )
                self._lost(kind, error)
            await backoff.pause()

    async def _hear(self, kind: str) -> None:
        whole = True
        async with aclosing(self._objects.watch(kind)) as heard:
            async for some in heard:
                self._told.pop(kind, None)
                self._heard(kind)
                if whole:
                    self._listed(kind, [each for each in some if isinstance(each, Object)])
                    whole = False
                    continue
                for change in _changes(some):
                    self._changed(Key(kind, change.object.metadata.name), change)


def is_news(known: Object | None, told: Object) -> bool:
    """Whether it is later than what is known. Answers to writes come before the watch tells of them."""
    if known is None:
        return True
    versions = known.metadata.resource_version, told.metadata.resource_version
    if all(version.isdecimal() for version in versions):
        return int(versions[0]) < int(versions[1])
    return versions[0] != versions[1]


def _changes(some: Iterable[Object | ObjectChange]) -> Iterable[ObjectChange]:
    return (each for each in some if isinstance(each, ObjectChange))
