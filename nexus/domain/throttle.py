"""How fast Jobs are created on a cluster (a token bucket), and how many may wait there to start (a window).

Times are seconds of one monotonic clock, passed in as `now`.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque

__all__ = ["PendingWindow", "TokenBucket"]

_RECOVERY = 60.0
"""Seconds of success that take the rate from nothing to the configured one; also how slowly "usual" latency moves."""
_BACK_OFF = 0.5
_SETTLE = 1.0
"""Seconds after a decrease in which further push-backs are answers to what was sent before it."""
_SLOW = 1.0
"""No create that took less than these seconds is push-back, however fast they usually are."""
_ROUNDING = 1e-6


class TokenBucket:
    """Creates per second on one cluster, adapting to what its API server says and how long it takes.

    `rate` (per second), `burst` and `floor` (the rate below which push-back never takes it) are those of the whole
    cluster; this bucket gives the part that `share` names, all of it until then. It begins full and at full rate.
    """

    def __init__(self, rate: float, burst: float, *, floor: float = 1.0) -> None:
        self._configured = rate
        self._burst = burst
        self._floor = min(floor, rate)
        self._fraction = 1.0
        self._rate = rate
        self._tokens = self._capacity
        self._counted = -math.inf  # tokens are counted up to here; after a Retry-After this lies ahead
        self._adapted = -math.inf
        self._settled = -math.inf
        self._usual: float | None = None

    @property
    def rate(self) -> float:
        """Creates per second now: this scheduler's part of the cluster's adapted rate."""
        return self._rate * self._fraction

    @property
    def _capacity(self) -> float:
        """A small part of a small burst is still one token: less could never be taken."""
        return max(1.0, self._burst * self._fraction) if self._fraction else 0.0

    def share(self, fraction: float, now: float) -> None:
        """Own this part (0..1) of the cluster's partitions. A larger part brings no tokens, only a faster refill."""
        self._refill(now)
        self._fraction = fraction
        self._tokens = min(self._tokens, self._capacity)

    def take(self, now: float) -> float:
        """0.0 when a token was taken, else the seconds until one will be there (`inf` for a share of nothing)."""
        self._refill(now)
        missing = 1.0 - self._tokens
        if now >= self._counted and missing <= _ROUNDING:
            self._tokens -= 1.0
            return 0.0
        if not self._fraction:
            return math.inf
        return self._counted - now + max(0.0, missing) / self.rate

    def succeeded(self, now: float, latency: float) -> None:
        """A create was answered after `latency` seconds: go a little faster, unless it was unusually slow."""
        # An idle time is not evidence for a higher rate, so one answer stands for a second at most.
        step = min(max(0.0, now - self._adapted), 1.0) / _RECOVERY
        self._adapted = max(self._adapted, now)
        usual = latency if self._usual is None else self._usual
        self._usual = usual + (latency - usual) * step
        if latency > max(_SLOW, 4 * usual):
            self.pushed_back(now, None)
            return
        self._refill(now)
        self._rate = min(self._configured, self._rate + self._configured * step)

    def pushed_back(self, now: float, retry_after: float | None) -> None:
        """The cluster answered 429 or 5xx, or not in time; no token comes before `retry_after` seconds have passed."""
        self._refill(now)
        if retry_after is not None:
            self._counted = max(self._counted, now + retry_after)
        # What was saved up would let the next burst go at the old speed.
        self._tokens = min(self._tokens, 0.0)
        if now < self._settled:
            return
        self._settled = now + max(_SETTLE, self._usual or 0.0)
        self._adapted = max(self._adapted, now)
        self._rate = max(self._floor, self._rate * _BACK_OFF)

    def _refill(self, now: float) -> None:
        if now > self._counted:
            if self._fraction:
                self._tokens = min(self._capacity, self._tokens + (now - self._counted) * self.rate)
            self._counted = now


class PendingWindow:
    """How many Jobs may be created and not yet started, so that each starts within about `target_wait` seconds.

    The bound is Little's law in its plainest form: as many as started in the last `target_wait` seconds, within
    `floor` (at least 1) and `ceiling`. It follows a rise at once and a fall smoothly.

    Why it converges: let a start be heard `w` seconds after the create on an idle cluster, and at most `c` a second.
    With `b` pending it starts min(c, b / w) a second, so the next bound is min(c, b / w) * target_wait. While
    the window is what limits (b < c * w) that is growth by the factor target_wait / w. Once the cluster is what
    limits, it is c * target_wait whatever `b` was, so nothing oscillates. Hence `target_wait` has to be well
    above `w`: where it is below, the bound goes to its floor.

    Jobs pending longer than `grace` seconds (no node for them) leave the count; once there are `stuck_ceiling` of
    those, there is no room for any other.

    All of this is measured in heard time: a clock that stands still from `deaf_after` seconds after observations were
    last heard until they are heard again, and until they are for the first time. So neither does the bound move nor
    does a Job become stuck for want of news.
    """

    def __init__(
        self,
        *,
        floor: int,
        ceiling: int,
        target_wait: float,
        grace: float,
        stuck_ceiling: int,
        deaf_after: float = 10.0,
    ) -> None:
        self._floor = floor
        self._ceiling = ceiling
        self._target_wait = target_wait
        self._grace = grace
        self._stuck_ceiling = stuck_ceiling
        self._deaf_after = deaf_after
        self._pending: OrderedDict[str, float] = OrderedDict()  # a plain dict is slow to give its oldest
        self._stuck: set[str] = set()
        self._starts: deque[float] = deque(maxlen=ceiling)  # more of them would not raise the bound
        self._bound = float(floor)
        self._clock = 0.0
        self._last = self._heard = -math.inf

    @property
    def pending(self) -> int:
        """Jobs that count against the bound, as of the last call that passed a time."""
        return len(self._pending)

    @property
    def stuck(self) -> int:
        """Jobs that have been pending longer than the grace, as of the last call that passed a time."""
        return len(self._stuck)

    @property
    def bound(self) -> int:
        """How many may be pending, as of the last call that passed a time."""
        return int(self._bound)

    def room(self, now: float) -> int:
        """How many more Jobs may be created now."""
        self._advance(now)
        return 0 if len(self._stuck) >= self._stuck_ceiling else max(0, self.bound - len(self._pending))

    def created(self, request_id: str, now: float) -> bool:
        """A create is about to be sent: in flight it counts already, and no start can be heard before it.

        False where it counts since an earlier create, which changes nothing. If no Job comes of it, say `gone`.
        """
        self._advance(now)
        if request_id in self._pending or request_id in self._stuck:
            return False
        self._pending[request_id] = self._clock
        return True

    def started(self, request_id: str, now: float) -> bool:
        """A start was heard. False for a Job that was not pending here (or no longer): it does not count."""
        self.heard(now)
        if not self.gone(request_id):
            return False
        self._starts.append(self._clock)
        self._advance(now)
        return True

    def gone(self, request_id: str) -> bool:
        """The Job ended or was deleted before it started, or never came to be; False as for `started`."""
        if self._pending.pop(request_id, None) is not None:
            return True
        if request_id in self._stuck:
            self._stuck.remove(request_id)
            return True
        return False

    def heard(self, now: float) -> None:
        """The cluster's observations were read up to date, whether or not there was anything new."""
        self._advance(now)
        self._heard = max(self._heard, now)
        self._last = max(self._last, now)

    def _advance(self, now: float) -> None:
        until = min(now, self._heard + self._deaf_after)
        passed = until - self._last if until > self._last else 0.0
        self._last += passed
        self._clock += passed
        while self._pending and self._clock - next(iter(self._pending.values())) > self._grace:
            self._stuck.add(self._pending.popitem(last=False)[0])
        while self._starts and self._clock - self._starts[0] > self._target_wait:
            self._starts.popleft()
        earned = float(len(self._starts))
        if earned < self._bound:
            earned = self._bound + (earned - self._bound) * -math.expm1(-passed / self._target_wait)
        self._bound = min(float(self._ceiling), max(float(self._floor), earned))
