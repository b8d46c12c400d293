"""The clusters of a process, which come and go: found again and again, and each served for as long as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import structlog

from nexus.composition.tasks import Spawn, stop
from nexus.domain.errors import ConfigError

__all__ = ["Fleet", "Opened"]

_log = structlog.get_logger(__name__)

_LOOK_AGAIN = 1.0
"""Seconds."""

A = TypeVar("A")
T = TypeVar("T")


class Fleet(Generic[A]):
    """What tells how to reach each cluster, by name. `look` finds what there is now, and what is wrong with the rest.

    `look` raises ConfigError where it cannot tell; then all stays as it was.
    """

    def __init__(
        self, found: Mapping[str, A], look: Callable[[], tuple[Mapping[str, A], Sequence[str]]] | None
    ) -> None:
        self.found = dict(found)
        """As it is now: it changes while somebody looks."""
        self.problems: Sequence[str] = []
        self._look = look
        self._waiting: list[asyncio.Event] = []

    async def follow(self) -> None:
        """Until cancelled."""
        while self._look is not None:
            await asyncio.sleep(_LOOK_AGAIN)
            self.look()

    def look(self) -> None:
        """Take in what there is now."""
        if self._look is None:
            return
        try:
            found, problems = self._look()
        except ConfigError as error:
            found, problems = dict(self.found), [str(error)]
        for problem in problems:
            if problem not in self.problems:
                _log.warning("cluster_not_taken", problem=problem)
        self.problems = problems
        if found != self.found:
            self._take(found)

    def _take(self, found: Mapping[str, A]) -> None:
        for name in self.found.keys() - found.keys():
            _log.warning("cluster_taken_away", cluster=name)
        for name in found.keys() - self.found.keys():
            _log.info("cluster_came", cluster=name)
        self.found.clear()
        self.found.update(found)
        for waiting in self._waiting:
            waiting.set()

    async def serve(
        self, clusters: Mapping[str, T], serve: Callable[[T], Coroutine[Any, Any, None]], spawn: Spawn
    ) -> None:
        """Until cancelled: have each cluster served from when it comes until it goes, or becomes another.

        `clusters` are those of the fleet that are served here.
        """
        serving: dict[str, tuple[T, asyncio.Task[None]]] = {}
        changed = asyncio.Event()
        self._waiting.append(changed)
        try:
            while True:
                changed.clear()
                there = dict(clusters)
                for name, (cluster, task) in [*serving.items()]:
                    if there.get(name) is not cluster:
                        await stop(task)
                        del serving[name]
                for name, cluster in there.items():
                    if name not in serving:
                        serving[name] = cluster, spawn(serve(cluster))
                await changed.wait()
        finally:
            self._waiting.remove(changed)


class Opened(Mapping[str, T], Generic[A, T]):
    """What was made of each cluster of a fleet that is served here. What comes back is what it was before it went."""

    def __init__(
        self, fleet: Fleet[A], opens: Callable[[str, A], T], serves: Callable[[str], bool] = lambda _: True
    ) -> None:
        self._fleet = fleet
        self._opens = opens
        self._serves = serves
        self._opened: dict[str, tuple[A, T]] = {}

    def __getitem__(self, name: str) -> T:
        found = self._fleet.found[name]
        if not self._serves(name):
            raise KeyError(name)
        known, opened = self._opened.get(name, (None, None))
        if opened is None or known != found:
            opened = self._opens(name, found)
            self._opened[name] = found, opened
        return opened

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in self._fleet.found if self._serves(name)])

    def __len__(self) -> int:
        return sum(map(self._serves, self._fleet.found))
