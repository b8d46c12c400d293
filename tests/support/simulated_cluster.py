"""A cluster in memory for tests: what it refuses, starts, ends or loses, and when, is the test's to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nexus.domain.errors import NexusError, OutcomeUnknown, Refused, Unavailable
from nexus.domain.events import DeletionPolicy
from nexus.domain.observed import JobView, PodView
from nexus.ports import Change, Cluster, Created, Listed
from tests.support.cluster_model import ClusterModel

__all__ = ["SimulatedCluster"]


class SimulatedCluster(ClusterModel, Cluster):
    """`outcomes` is what becomes of the next creates: None as usual, an error instead of it, or, where that is an
    OutcomeUnknown, after it was done. While `away`, every call raises Unavailable.
    """

    def __init__(self, now: Callable[[], datetime], name: str = "standalone") -> None:
        super().__init__(now, name=name)
        self.away = False
        self.unanswered = 0
        """Calls that came while it was away."""
        self.outcomes: Iterator[NexusError | None] = iter(())
        self.asked: list[tuple[datetime, dict[str, Any]]] = []
        """Every manifest that `create` was called with, and when."""
        self.judged: list[dict[str, Any]] = []
        """Every manifest that `judge` was called with."""
        self.verdict: Callable[[Mapping[str, Any]], Refused | None] = lambda _: None
        """What it says to a Job in advance."""
        self.release = "1.0"

    @property
    def placed(self) -> list[str]:
        """The names that `create` was called with, in that order."""
        return [job["metadata"]["name"] for _, job in self.asked]

    def disconnect(self) -> None:
        """End every watch."""
        for changes in self.watches:
            changes.put_nowait(None)  # type: ignore[attr-defined]

    # The port

    async def identity(self) -> str:
        await self._reached()
        return self.uid

    async def create(self, job: Mapping[str, Any]) -> Created:
        await self._reached()
        self.asked.append((self._now(), dict(job)))
        error = next(self.outcomes, None)
        if error and not isinstance(error, OutcomeUnknown):
            raise error
        created = self.make(job)
        if error:
            raise error
        return created

    async def judge(self, job: Mapping[str, Any]) -> None:
        await self._reached()
        self.judged.append(dict(job))
        if error := self.verdict(job):
            raise error

    async def version(self) -> str:
        await self._reached()
        return self.release

    async def get(self, name: str) -> JobView | None:
        await self._reached()
        return self.job(name)

    async def pods(self, job: str) -> Sequence[PodView]:
        await self._reached()
        return self.pods_of(job)

    async def delete(self, name: str, uid: str, policy: DeletionPolicy) -> bool:
        await self._reached()
        return self.remove(name, uid, policy)

    async def log_tail(self, pod: str, limit: int) -> str:
        await self._reached()
        return self.log_of(pod, limit)

    async def events(self, job: str) -> Sequence[str]:
        await self._reached()
        return self.said_of(job)

    async def watch(self) -> AsyncGenerator[Listed | Change]:
        await self._reached()
        changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self.watches[changes] = changes.put_nowait
        try:
            yield self.everything()
            while change := await changes.get():
                yield change
        finally:
            del self.watches[changes]

    async def _reached(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            self.unanswered += 1
            raise Unavailable(f"{self.name} cannot be reached")
