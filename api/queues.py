"""How many runs of a tenant wait, by what the schedulers tell, for who may have only so many."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime, timedelta

from nexus.domain.access import Tenant
from nexus.domain.errors import LimitReached
from nexus.ports import RunStore

__all__ = ["Queues"]

_LATELY = timedelta(seconds=30)
"""Who has told nothing for longer is not there any more."""
_LOOK_AGAIN = timedelta(seconds=1)
_COME_AGAIN = 5.0
"""Seconds, in which the schedulers tell again."""


class Queues:
    """Of one server: it adds what it has accepted itself since the schedulers told, and knows nothing of the others'."""

    def __init__(self, store: RunStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._looked: datetime | None = None
        self._told: Counter[str] = Counter()
        self._accepted: deque[tuple[datetime, str]] = deque()
        """Since the schedulers told, and how many of each tenant those are."""
        self._here: Counter[str] = Counter()

    async def admit(self, tenant: Tenant) -> None:
        """Count a submission. Raises LimitReached where so many wait as may, and Unavailable."""
        if tenant.max_queued is None:
            return
        now = self._clock()
        if self._looked is None or now - self._looked >= _LOOK_AGAIN:
            await self._look(now)
        waiting = self._told[tenant.name] + self._here[tenant.name]
        if waiting >= tenant.max_queued:
            raise LimitReached(
                f"the tenant {tenant.name!r} has reached its limit maxQueued: {tenant.max_queued} (about {waiting} of its runs "
                "wait): submit again when some have started, cancel some, or have the limit raised",
                _COME_AGAIN,
            )
        self._accepted.append((now, tenant.name))
        self._here[tenant.name] += 1

    async def _look(self, now: datetime) -> None:
        self._looked = now
        figures = [
            each for each in await self._store.figures() if each.queued_by and now - each.at <= _LATELY
        ]
        self._told = Counter()
        for each in figures:
            self._told.update(each.queued_by)
        since = min((each.at for each in figures), default=now - _LATELY)
        while self._accepted and self._accepted[0][0] <= since:
            self._here[self._accepted.popleft()[1]] -= 1
