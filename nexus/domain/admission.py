"""Which of the requests that wait goes next: fair between algorithms, oldest first within one.

`now` and `not_before` are seconds of one monotonic clock; `Entry.at` is unix time.
"""

from __future__ import annotations

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

    `at` is when the request was made, `size` the bytes of its record, `partition` where that lies, `ack` what
    acknowledges it. Two entries are never equal: the same request may lie in the log twice, and each is acknowledged.
    """

    request_id: str
    algorithm: str
    at: float
    size: int
    partition: int
    ack: T


# A live item of the heaps has the number under which its entry is waiting; others are left over from a discard.
_Item = tuple[float, int, Entry[T]]


class _Lane(Generic[T]):
    """One algorithm: what is ready to go (never a dead item first), and how many of its Jobs are pending."""

    __slots__ = ("algorithm", "pending", "ready", "turn")

    def __init__(self, algorithm: str, turn: int) -> None:
        self.algorithm = algorithm
        self.turn = turn
        self.ready: list[_Item[T]] = []
        self.pending = 0


class LookAhead(Generic[T]):
    """A look-ahead over the queue, full once it holds `max_entries` entries or `max_bytes` bytes of records.

    An entry that `next` returned is no longer in the window. It counts as its algorithm's pending Job until `release`
    (its Job started or ended, or it came to nothing) or `put_back`.

    Algorithms take turns. One that comes new, or comes back from being blocked, is at once due for one turn, not for
    those that it missed; so with k algorithms waiting each is served within k picks. Which of those that are due goes
    first, and which entry of an algorithm, is decided by age alone: what a dead scheduler left over, and retries, go
    ahead.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._waiting: dict[Entry[T], int] = {}
        self._bytes = 0
        self._lanes: dict[str, _Lane[T]] = {}
        self._pending = 0
        self._delayed: list[_Item[T]] = []
        self._numbers = count()
        self._discarded = 0
        self._turn = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """The size of the records of the entries that wait here."""
        return self._bytes

    @property
    def oldest(self) -> float | None:
        """When the request was made that is the oldest of those that wait here. Looks at every entry."""
        return min((entry.at for entry in self._waiting), default=None)

    def offer(self, entry: Entry[T]) -> bool:
        """Take a new entry; False when the window is full. The last one taken may exceed the bound in bytes."""
        if len(self._waiting) >= self._max_entries or self._bytes >= self._max_bytes:
            return False
        self._make_ready(entry, self._enter(entry))
        return True

    def next(self, now: float, limit: int, blocked: Callable[[str], bool] | None = None) -> Entry[T] | None:
        """The entry to admit now, or None. `blocked` tells which algorithms to pass over.

        `limit` is how many Jobs may be pending in all. Algorithms that have nothing ready keep what they hold of it;
        the rest is divided evenly among the others, and none gets beyond its part (at least one). Whether there is
        room at all is for the caller to know.
        """
        self._wake(now)
        wanting = [lane for lane in self._lanes.values() if lane.ready]
        if not wanting:
            return None
        free = limit - self._pending + sum([lane.pending for lane in wanting])
        part = max(1, -(-free // len(wanting)))
        best: _Lane[T] | None = None
        for lane in wanting:
            if (
                lane.pending < part
                and (best is None or (lane.turn, lane.ready[0]) < (best.turn, best.ready[0]))
                and not (blocked and blocked(lane.algorithm))
            ):
                best = lane
        return self._admit(best) if best else None

    def release(self, algorithm: str) -> None:
        """An admitted entry's Job started or ended, or it came to nothing."""
        lane = self._lanes.get(algorithm)
        if lane and lane.pending:
            lane.pending -= 1
            self._pending -= 1

    def put_back(self, entry: Entry[T], not_before: float) -> None:
        """Have an admitted entry wait again, even in a full window; `next` passes it over until `not_before`.

        Not for an entry of a partition that was dropped meanwhile.
        """
        self.release(entry.algorithm)
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
        self._leave(entry)
        self._discarded += 1
        if self._discarded > len(self._waiting):
            self._compact()
        elif lane := self._lanes.get(entry.algorithm):
            self._expose(lane)
        return True

    def drop_partition(self, partition: int) -> None:
        """Forget all that waits of a partition that went to another scheduler. Looks at every entry."""
        for entry in [entry for entry in self._waiting if entry.partition == partition]:
            self._leave(entry)
        self._compact()

    def _enter(self, entry: Entry[T]) -> int:
        self._bytes += entry.size
        number = self._waiting[entry] = next(self._numbers)
        return number

    def _leave(self, entry: Entry[T]) -> None:
        self._bytes -= entry.size
        del self._waiting[entry]

    def _live(self, item: _Item[T]) -> bool:
        return self._waiting.get(item[2]) == item[1]

    def _make_ready(self, entry: Entry[T], number: int) -> None:
        lane = self._lanes.get(entry.algorithm)
        if lane is None:
            lane = self._lanes[entry.algorithm] = _Lane(entry.algorithm, self._turn)
        heappush(lane.ready, (entry.at, number, entry))

    def _wake(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            item = heappop(self._delayed)
            if self._live(item):
                self._make_ready(item[2], item[1])

    def _admit(self, lane: _Lane[T]) -> Entry[T]:
        _, _, entry = heappop(lane.ready)
        self._leave(entry)
        self._expose(lane)
        lane.pending += 1
        self._pending += 1
        if lane.turn > self._turn:
            self._turn = lane.turn
            # Only now that a round is over are the idle forgotten: sooner, they would have two turns by coming back.
            self._lanes = {name: lane for name, lane in self._lanes.items() if lane.ready or lane.pending}
        lane.turn = self._turn + 1
        return entry

    def _expose(self, lane: _Lane[T]) -> None:
        while lane.ready and not self._live(lane.ready[0]):
            heappop(lane.ready)

    def _compact(self) -> None:
        for lane in self._lanes.values():
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
