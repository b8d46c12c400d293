"""Which of the requests that wait goes next: fair among tenants by weight, then among their algorithms, then by age.

`now` and `not_before` are seconds of one monotonic clock; `Entry.at` is unix time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

import msgspec

from nexus.domain.backoff import delay

__all__ = ["Entry", "LookAhead", "retry_delay", "should_defer"]

T = TypeVar("T")

_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0


class Entry(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """What a scheduler keeps in memory of a request that waits.

    `at` is when the request was made, `partition` where its record lies, `ack` what acknowledges it. `weight` is that of
    its tenant when it was accepted. Two entries are never equal: the same request may lie in the log twice, and each
    is acknowledged.
    """

    request_id: str
    algorithm: str
    at: float
    partition: int
    ack: T
    tenant: str = ""
    weight: int = 1


# A live item of the heaps has the number under which its entry is waiting; others are left over from a discard.
_Item = tuple[float, int, Entry[T]]


class _Lane(Generic[T]):
    """One algorithm of a tenant: what is ready to go (never a dead item first), and how many of its Jobs are pending."""

    __slots__ = ("pending", "ready", "turn")

    def __init__(self, turn: float) -> None:
        self.turn = turn
        self.ready: list[_Item[T]] = []
        self.pending = 0

    @property
    def oldest(self) -> _Item[T]:
        return self.ready[0]


class _Turns:
    """Whose turn it is among some that share: each is served as often as its weight says (start-time fair queueing).

    One that comes new, or comes back from being blocked, is at once due for one turn, not for those that it missed.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def after(self, turn: float, weight: int) -> float:
        """The next turn of one that is served now."""
        self.now = max(self.now, turn)
        return self.now + 1 / weight


class _Tenant(Generic[T]):
    """The algorithms of a tenant, and how many Jobs of theirs are pending."""

    __slots__ = ("lanes", "pending", "turn", "turns", "weight")

    def __init__(self, turn: float) -> None:
        self.turn = turn
        self.turns = _Turns()
        self.lanes: dict[str, _Lane[T]] = {}
        self.pending = 0
        self.weight = 1

    @property
    def wants(self) -> bool:
        return any(lane.ready for lane in self.lanes.values())

    def lane(self, algorithm: str) -> _Lane[T]:
        lane = self.lanes.get(algorithm)
        if lane is None:
            lane = self.lanes[algorithm] = _Lane(self.turns.now)
        return lane

    def best(self, part: int, blocked: Callable[[str], bool] | None) -> _Lane[T] | None:
        """The algorithm that is next, where the tenant may have `part` Jobs pending."""
        wanting = [(name, lane) for name, lane in self.lanes.items() if lane.ready]
        free = part - self.pending + sum([lane.pending for _, lane in wanting])
        each = max(1, -(-free // len(wanting))) if wanting else 0
        found: _Lane[T] | None = None
        for name, lane in wanting:
            if (
                lane.pending < each
                and (found is None or (lane.turn, lane.oldest) < (found.turn, found.oldest))
                and not (blocked and blocked(name))
            ):
                found = lane
        return found

    def served(self, lane: _Lane[T]) -> None:
        lane.pending += 1
        self.pending += 1
        lane.turn = self.turns.after(lane.turn, 1)
        # Not sooner than their turn comes: they would have two by coming back.
        self.lanes = {
            name: lane
            for name, lane in self.lanes.items()
            if lane.ready or lane.pending or lane.turn > self.turns.now
        }


class LookAhead(Generic[T]):
    """A look-ahead over the queue, full once it holds `max_entries` entries.

    An entry that `next` returned is no longer in the window. It counts as its algorithm's pending Job until `release`
    (its Job started or ended, or it came to nothing) or `put_back`.

    Tenants take turns by their weights, and the algorithms of one take its turns evenly. So with k tenants waiting each
    is served within k picks that come after its turn is due. Which of those that are due goes first, and which entry
    of an algorithm, is decided by age alone: what a dead scheduler left over, and retries, go ahead. The weight of a
    tenant is that of its entry that came last.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._waiting: dict[Entry[T], int] = {}
        self._tenants: dict[str, _Tenant[T]] = {}
        self._turns = _Turns()
        self._pending = 0
        self._delayed: list[_Item[T]] = []
        self._numbers = count()
        self._discarded = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def oldest(self) -> float | None:
        """When the request was made that is the oldest of those that wait here."""
        heads = [
            lane.oldest[0]
            for tenant in self._tenants.values()
            for lane in tenant.lanes.values()
            if lane.ready
        ]
        return min([*heads, *(item[2].at for item in self._delayed if self._live(item))], default=None)

    def by_tenant(self) -> dict[str, int]:
        """How many entries of each tenant wait here. Looks at every entry."""
        return dict(Counter(entry.tenant for entry in self._waiting))

    def offer(self, entry: Entry[T]) -> bool:
        """Take a new entry; False when the window is full."""
        if len(self._waiting) >= self._max_entries:
            return False
        self._make_ready(entry, self._enter(entry))
        self._tenants[entry.tenant].weight = entry.weight
        return True

    def next(self, now: float, limit: int, blocked: Callable[[str], bool] | None = None) -> Entry[T] | None:
        """The entry to admit now, or None. `blocked` tells which algorithms to pass over.

        `limit` is how many Jobs may be pending in all. Tenants that have nothing ready keep what they hold of it; the
        rest is divided among the others by weight, and among the algorithms of each evenly. None gets beyond its part
        (at least one). Whether there is room at all is for the caller to know.
        """
        self._wake(now)
        wanting = [tenant for tenant in self._tenants.values() if tenant.wants]
        free = limit - self._pending + sum([tenant.pending for tenant in wanting])
        weights = sum([tenant.weight for tenant in wanting])
        best: tuple[float, _Item[T]] | None = None
        found: tuple[_Tenant[T], _Lane[T]] | None = None
        for tenant in wanting:
            part = max(1, -(-free * tenant.weight // weights))
            if len(wanting) > 1 and tenant.pending >= part:
                continue
            lane = tenant.best(part, blocked)
            if lane and (best is None or (tenant.turn, lane.oldest) < best):
                best, found = (tenant.turn, lane.oldest), (tenant, lane)
        return self._admit(*found) if found else None

    def release(self, algorithm: str, tenant: str = "") -> None:
        """An admitted entry's Job started or ended, or it came to nothing."""
        holder = self._tenants.get(tenant)
        lane = holder and holder.lanes.get(algorithm)
        if holder and lane and lane.pending:
            lane.pending -= 1
            holder.pending -= 1
            self._pending -= 1

    def put_back(self, entry: Entry[T], not_before: float) -> None:
        """Have an admitted entry wait again, even in a full window; `next` passes it over until `not_before`.

        Not for an entry of a partition that was dropped meanwhile.
        """
        self.release(entry.algorithm, entry.tenant)
        heappush(self._delayed, (not_before, self._enter(entry), entry))

    def next_due(self, now: float) -> float | None:
        """When the next entry that was put back, and is not due at `now`, will be; None when there is none."""
        self._wake(now)
        while self._delayed and not self._live(self._delayed[0]):
            heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    def discard(self, entry: Entry[T]) -> bool:
        """Forget an entry that waits; False when it does not."""
        if entry not in self._waiting:
            return False
        del self._waiting[entry]
        self._discarded += 1
        if self._discarded > len(self._waiting):
            self._compact()
        elif (tenant := self._tenants.get(entry.tenant)) and (lane := tenant.lanes.get(entry.algorithm)):
            self._expose(lane)
        return True

    def drop_partition(self, partition: int) -> None:
        """Forget all that waits of a partition that went to another scheduler. Looks at every entry."""
        for entry in [entry for entry in self._waiting if entry.partition == partition]:
            del self._waiting[entry]
        self._compact()

    def _enter(self, entry: Entry[T]) -> int:
        number = self._waiting[entry] = next(self._numbers)
        return number

    def _live(self, item: _Item[T]) -> bool:
        return self._waiting.get(item[2]) == item[1]

    def _make_ready(self, entry: Entry[T], number: int) -> None:
        tenant = self._tenants.get(entry.tenant)
        if tenant is None:
            tenant = self._tenants[entry.tenant] = _Tenant(self._turns.now)
            tenant.weight = entry.weight
        heappush(tenant.lane(entry.algorithm).ready, (entry.at, number, entry))

    def _wake(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            item = heappop(self._delayed)
            if self._live(item):
                self._make_ready(item[2], item[1])

    def _admit(self, tenant: _Tenant[T], lane: _Lane[T]) -> Entry[T]:
        _, _, entry = heappop(lane.ready)
        del self._waiting[entry]
        self._expose(lane)
        tenant.served(lane)
        self._pending += 1
        tenant.turn = self._turns.after(tenant.turn, tenant.weight)
        self._tenants = {
            name: each
            for name, each in self._tenants.items()
            if each.pending or each.turn > self._turns.now or each.wants
        }
        return entry

    def _expose(self, lane: _Lane[T]) -> None:
        while lane.ready and not self._live(lane.ready[0]):
            heappop(lane.ready)

    def _compact(self) -> None:
        for tenant in self._tenants.values():
            for lane in tenant.lanes.values():
                lane.ready = [item for item in lane.ready if self._live(item)]
                heapify(lane.ready)
        self._delayed = [item for item in self._delayed if self._live(item)]
        heapify(self._delayed)
        self._discarded = 0


def should_defer(first_refused_at: float, now: float, defer_after: float) -> bool:
    """Whether a request has been refused for so long (all in seconds) that it is parked instead of held."""
    return now - first_refused_at >= defer_after


def retry_delay(attempt: int, jitter: float) -> float:
    """Return the seconds to wait after refusal number `attempt` (from 1) of a request; `jitter` is from 0 to 1."""
    return delay(attempt, jitter, _FIRST_DELAY, _LONGEST_DELAY)
