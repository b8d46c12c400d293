from __future__ import annotations

import math
from collections import deque
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.throttle import PendingWindow, TokenBucket


def drain(bucket: TokenBucket, now: float) -> int:
    taken = 0
    while bucket.take(now) == 0.0:
        taken += 1
    return taken


def create_for(bucket: TokenBucket, start: float, seconds: float, latency: float) -> float:
    """Create as fast as the bucket lets us, all of it succeeding; the time at the end."""
    now = start
    while now < start + seconds:
        wait = bucket.take(now)
        if wait:
            now += wait
        else:
            bucket.succeeded(now, latency)
    return now


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate():
    bucket = TokenBucket(10, 5)
    assert drain(bucket, 100.0) == 5
    assert bucket.take(100.0) == pytest.approx(0.1)
    assert bucket.take(100.1) == 0.0
    assert drain(bucket, 1000.0) == 5


def test_waiting_for_as_long_as_it_says_is_enough():
    bucket, now = TokenBucket(7, 1), 123456.789
    for _ in range(1000):
        now += bucket.take(now) or 0.0
        if wait := bucket.take(now):
            now += wait
            assert bucket.take(now) == 0.0


def test_rate_and_burst_scale_with_the_share():
    bucket = TokenBucket(100, 20)
    bucket.share(0.25, 0.0)
    assert bucket.rate == 25
    assert drain(bucket, 0.0) == 5
    bucket.share(1.0, 0.0)
    assert drain(bucket, 0.0) == 0, "a larger share brings no tokens"
    assert drain(bucket, 0.1) == 10


def test_a_share_of_nothing_gives_nothing_and_a_small_one_gives_whole_tokens():
    bucket = TokenBucket(100, 20)
    bucket.share(0.0, 0.0)
    assert bucket.take(1000.0) == math.inf
    bucket.share(0.01, 1000.0)
    assert bucket.take(1000.0) == pytest.approx(1.0)
    assert bucket.take(1001.0) == 0.0


def test_a_burst_of_push_back_counts_once():
    bucket = TokenBucket(100, 20)
    for reply in range(50):
        bucket.pushed_back(10.0 + reply / 100, None)
    assert bucket.rate == 50
    bucket.pushed_back(11.5, None)
    assert bucket.rate == 25


def test_push_back_takes_what_was_saved_up():
    bucket = TokenBucket(100, 20)
    bucket.pushed_back(10.0, None)
    assert drain(bucket, 10.0) == 0
    assert drain(bucket, 10.1) == 5


def test_the_rate_never_falls_below_the_floor():
    bucket = TokenBucket(100, 20, floor=3)
    for second in range(100):
        bucket.pushed_back(2.0 * second, None)
    assert bucket.rate == 3


def test_no_token_before_retry_after_has_passed():
    bucket = TokenBucket(100, 20)
    bucket.pushed_back(10.0, None)
    bucket.pushed_back(10.5, 30.0)  # counts as the same push-back, but the cluster's word holds
    assert bucket.rate == 50
    assert bucket.take(11.0) >= 29.5
    assert bucket.take(40.4) > 0.0
    assert drain(bucket, 40.5) <= 1
    assert bucket.take(41.0) == 0.0


def test_a_shorter_retry_after_does_not_end_a_longer_one():
    bucket = TokenBucket(100, 20)
    bucket.pushed_back(10.0, 30.0)
    bucket.pushed_back(10.1, 1.0)
    assert bucket.take(39.0) > 0.0


def test_success_brings_the_rate_back_in_about_a_minute():
    bucket = TokenBucket(100, 20)
    now = 0.0
    for _ in range(10):
        bucket.pushed_back(now, None)
        now += 2.0
    assert bucket.rate == 1
    now = create_for(bucket, now, 30.0, 0.02)
    assert 30 < bucket.rate < 70
    create_for(bucket, now, 40.0, 0.02)
    assert bucket.rate == 100


def test_an_idle_time_does_not_raise_the_rate():
    bucket = TokenBucket(100, 20)
    bucket.pushed_back(0.0, None)
    bucket.succeeded(10_000.0, 0.02)
    assert bucket.rate < 52


def test_unusually_slow_creates_are_push_back():
    bucket = TokenBucket(100, 20)
    now = create_for(bucket, 0.0, 5.0, 0.05)
    bucket.succeeded(now, 0.9)
    assert bucket.rate == 100, "slower than usual, but not slow"
    bucket.succeeded(now, 5.0)
    assert bucket.rate == 50


def test_a_cluster_that_is_always_slow_is_not_pushed_back():
    bucket = TokenBucket(10, 20)
    create_for(bucket, 0.0, 60.0, 3.0)
    assert bucket.rate == 10


def test_a_latency_that_stays_becomes_usual():
    bucket = TokenBucket(10, 20)
    now = create_for(bucket, 0.0, 10.0, 0.05)
    now = create_for(bucket, now, 5.0, 3.0)
    assert bucket.rate < 5
    create_for(bucket, now, 300.0, 3.0)
    assert bucket.rate == 10


@given(
    rate=st.floats(0.5, 1000),
    burst=st.floats(1, 100),
    share=st.floats(0.01, 1),
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "slow", "fast", "429", "later"]), st.floats(0, 3)), max_size=60
    ),
)
def test_a_bucket_never_gives_more_than_burst_and_rate(rate, burst, share, steps):
    bucket = TokenBucket(rate, burst)
    bucket.share(share, 0.0)
    now, taken = 0.0, 0
    for what, value in steps:
        match what:
            case "take":
                taken += sum(bucket.take(now) == 0.0 for _ in range(20))
            case "slow":
                bucket.succeeded(now, value * 3)
            case "fast":
                bucket.succeeded(now, value / 100)
            case "429":
                bucket.pushed_back(now, value)
            case "later":
                now += value
        assert min(1.0, rate) * share * 0.999 <= bucket.rate <= rate * share * 1.001
    assert taken <= max(1.0, burst * share) + rate * share * now + 0.001


def window(**changed) -> PendingWindow:
    settings = {"floor": 4, "ceiling": 2000, "target_wait": 5.0, "grace": 60.0, "stuck_ceiling": 10}
    return PendingWindow(**(settings | changed))


class SimulatedCluster:
    """Starts Jobs in order, `capacity` per second, none sooner than `wait` after its create; work never runs out.

    What it started is heard every `gap` seconds.
    """

    def __init__(self, pending: PendingWindow, capacity: float, wait: float = 1.2, gap: float = 0.0) -> None:
        self.window, self.capacity, self.wait, self.gap = pending, capacity, wait, gap
        self.unheard: list[str] = []
        self.heard_at = 0.0
        self.now = 0.0
        self.queue: deque[tuple[str, float]] = deque()
        self.waits: deque[float] = deque(maxlen=200)
        self.started = self.made = 0
        self._due = 0.0

    def run(self, seconds: float, tick: float = 0.05) -> None:
        for _ in range(round(seconds / tick)):
            self.now += tick
            self._due = min(self._due + self.capacity * tick, 1.0 + self.capacity * tick)
            while self._due >= 1 and self.queue and self.queue[0][1] + self.wait <= self.now:
                name, since = self.queue.popleft()
                self._due -= 1
                self.unheard.append(name)
                self.waits.append(self.now - since)
                self.started += 1
            if self.now - self.heard_at >= self.gap:
                self.heard_at = self.now
                self.window.heard(self.now)
                while self.unheard:
                    assert self.window.started(self.unheard.pop(), self.now)
            for _ in range(self.window.room(self.now)):
                self.made += 1
                self.window.created(f"run-{self.made}", self.now)
                self.queue.append((f"run-{self.made}", self.now))


@pytest.mark.parametrize("capacity", [5, 32, 200])
def test_the_bound_grows_from_the_floor_to_what_the_cluster_starts(capacity):
    cluster = SimulatedCluster(window(), capacity)
    cluster.run(60)
    assert cluster.window.bound == pytest.approx(capacity * 5, rel=0.15)
    assert median(cluster.waits) == pytest.approx(5, rel=0.2)
    before = cluster.started
    cluster.run(10)
    assert cluster.started - before == pytest.approx(capacity * 10, rel=0.05)


def test_starts_that_are_heard_in_bunches_do_not_unsettle_it():
    cluster = SimulatedCluster(window(), 100, gap=2.0)
    cluster.run(60)
    for _ in range(10):
        cluster.run(1)
        assert cluster.window.bound == pytest.approx(550, rel=0.15)


def test_a_floor_of_one_is_no_trap():
    cluster = SimulatedCluster(window(floor=1), 50, wait=3.0)
    cluster.run(120)
    assert cluster.window.bound == pytest.approx(250, rel=0.15)


def test_the_bound_follows_a_cluster_that_slows_down_and_recovers():
    cluster = SimulatedCluster(window(), 100)
    cluster.run(40)
    cluster.capacity = 10
    cluster.run(120)
    assert cluster.window.bound == pytest.approx(50, rel=0.2)
    cluster.capacity = 100
    cluster.run(40)
    assert cluster.window.bound == pytest.approx(500, rel=0.15)


def test_the_bound_falls_to_the_floor_when_starts_stop():
    cluster = SimulatedCluster(window(), 100)
    cluster.run(40)
    cluster.capacity = 0
    cluster.run(5)
    assert cluster.window.bound > 100, "smoothly"
    cluster.run(45)
    assert cluster.window.bound == 4
    assert cluster.window.room(cluster.now) == 0


def test_slow_starts_keep_the_floor_going():
    cluster = SimulatedCluster(window(), 100, wait=30.0)
    cluster.run(200)
    assert cluster.window.bound <= 6
    assert cluster.started > 10


def test_the_bound_is_frozen_while_nothing_is_heard():
    cluster = SimulatedCluster(window(deaf_after=3.0), 100)
    cluster.run(40)
    pending = cluster.window
    pending.room(cluster.now + 3.0)
    bound, waiting = pending.bound, pending.pending
    pending.room(cluster.now + 10_000.0)
    assert (pending.bound, pending.pending, pending.stuck) == (bound, waiting, 0)
    pending.heard(cluster.now + 10_000.0)
    assert pending.bound == bound, "silence is not held against the cluster afterwards"
    pending.room(cluster.now + 10_001.0)
    assert pending.bound < bound


def test_starts_heard_all_at_once_after_a_silence_do_not_open_the_gates():
    cluster = SimulatedCluster(window(), 100)
    cluster.run(40)
    bound = cluster.window.bound
    cluster.now += 600.0
    for name, _ in cluster.queue:
        cluster.window.started(name, cluster.now)
    assert cluster.window.bound <= 2 * bound + 1


def test_nothing_ages_before_anything_was_heard():
    pending = window()
    pending.created("a", 0.0)
    assert pending.room(1000.0) == 3
    assert pending.stuck == 0


def test_jobs_without_a_node_leave_the_count_under_a_second_bound():
    pending, now = window(), 0.0
    pending.heard(now)
    for wave in range(3):
        for slot in range(pending.room(now)):
            pending.created(f"{wave}-{slot}", now)
        assert pending.room(now) == 0
        for _ in range(61):
            now += 1.0
            pending.heard(now)
    assert pending.room(now) == 0
    assert (pending.pending, pending.stuck) == (0, 12)
    assert pending.gone("0-0")
    assert pending.started("0-1", now)
    assert pending.gone("0-2")
    assert pending.stuck == 9
    assert pending.room(now) == 4


def test_a_job_counts_once():
    pending = window()
    pending.heard(0.0)
    assert pending.created("a", 0.0)
    assert not pending.created("a", 1.0)
    assert pending.pending == 1
    assert pending.started("a", 2.0)
    assert not pending.started("a", 2.0)
    assert not pending.gone("a")
    assert not pending.started("another scheduler's", 2.0)
    assert pending.room(2.0) == 4


def test_creating_again_does_not_make_a_job_younger():
    pending = window(deaf_after=100.0)
    pending.heard(0.0)
    pending.created("a", 0.0)
    assert not pending.created("a", 50.0)
    pending.room(61.0)
    assert (pending.pending, pending.stuck) == (0, 1)
    assert not pending.created("a", 61.0)
    assert (pending.pending, pending.stuck) == (0, 1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fill", "start", "gone", "heard", "room"]), st.integers(0, 30), st.floats(0, 20)
        ),
        max_size=80,
    )
)
def test_the_bound_stays_between_floor_and_ceiling(steps):
    pending = window(floor=2, ceiling=20, deaf_after=5.0)
    now, model = 0.0, set()
    for what, job, later in steps:
        now += later
        match what:
            case "fill":
                for slot in range(pending.room(now)):
                    pending.created(f"{now}-{slot}", now)
                    model.add(f"{now}-{slot}")
            case "start":
                for name in sorted(model)[:job]:
                    assert pending.started(name, now)
                    model.discard(name)
            case "gone":
                for name in sorted(model)[:job]:
                    assert pending.gone(name)
                    model.discard(name)
            case "heard":
                pending.heard(now)
            case "room":
                assert 0 <= pending.room(now) <= pending.bound
        assert 2 <= pending.bound <= 20
        assert pending.pending + pending.stuck == len(model)
