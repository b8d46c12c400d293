from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexus.domain.admission import Entry, LookAhead, retry_delay, should_defer

_offsets = count()


def entry(algorithm: str, at: float, *, partition: int = 0, tenant: str = "", weight: int = 1) -> Entry[int]:
    offset = next(_offsets)
    return Entry(f"id-{offset}", algorithm, at, partition, offset, tenant, weight)


def filled(*entries: Entry[int]) -> LookAhead[int]:
    window: LookAhead[int] = LookAhead(100_000)
    for each in entries:
        assert window.offer(each)
    return window


def admitted(
    window: LookAhead[int], picks: int, *, limit: int = 1000, now: float = 0.0
) -> list[tuple[str, float]]:
    """Algorithm and age of the next entries, whose Jobs stay pending."""
    found = (window.next(now, limit) for _ in range(picks))
    return [(each.algorithm, each.at) for each in found if each]


def test_the_oldest_goes_first():
    window = filled(*(entry("a", at) for at in (5, 3, 9, 1)))
    assert admitted(window, 9) == [("a", 1), ("a", 3), ("a", 5), ("a", 9)]


def test_of_the_same_age_the_first_in_goes_first():
    entries = [entry("a", 7) for _ in range(20)]
    window = filled(*entries)
    assert [window.next(0.0, 100) for _ in entries] == entries


def test_the_window_is_bounded_in_entries():
    window: LookAhead[int] = LookAhead(3)
    assert [window.offer(entry("a", at)) for at in range(4)] == [True, True, True, False]
    assert len(window) == 3
    assert window.next(0.0, 10)
    assert window.offer(entry("a", 3))


@pytest.mark.parametrize("release", [True, False])
def test_a_flood_of_old_requests_does_not_delay_another_algorithm(release):
    window = filled(*(entry("flood", at) for at in range(1000)))
    for _ in range(10):
        window.next(0.0, 100)
        if release:
            window.release("flood")
    window.offer(entry("other", 5000))
    assert ("other", 5000) in admitted(window, 2, limit=100)


def test_algorithms_take_turns_and_among_those_due_the_oldest_goes_first():
    window = filled(
        *(entry("a", at) for at in (10, 11, 12)),
        *(entry("b", at) for at in (1, 2, 3)),
        *(entry("c", at) for at in (5, 6)),
    )
    assert admitted(window, 8) == [
        ("b", 1), ("c", 5), ("a", 10),
        ("b", 2), ("c", 6), ("a", 11),
        ("b", 3), ("a", 12),
    ]  # fmt: skip


def test_a_newcomer_is_due_but_not_ahead_of_older_ones_that_are():
    window = filled(*(entry("a", at) for at in (1, 2, 3)), *(entry("b", at) for at in (1, 2, 3)))
    assert admitted(window, 3) == [("a", 1), ("b", 1), ("a", 2)]
    window.offer(entry("new", 1000))
    assert admitted(window, 3) == [("b", 2), ("new", 1000), ("a", 3)]


def test_one_that_is_slow_to_start_is_not_starved_by_one_that_starts_at_once():
    window = filled(
        *(entry("slow", 1000 + at) for at in range(50)), *(entry("quick", at) for at in range(50))
    )
    for _ in range(20):
        each = window.next(0.0, 100)
        assert each
        if each.algorithm == "quick":
            window.release("quick")
    assert sum(1 for _ in admitted(window, 100)) == 80
    assert admitted(window, 1) == []


def test_an_algorithm_has_no_more_than_its_part_of_the_pending_jobs():
    window = filled(*(entry("a", at) for at in range(50)), *(entry("b", 100 + at) for at in range(50)))
    assert Counter(name for name, _ in admitted(window, 50, limit=9)) == {"a": 5, "b": 5}
    window.release("b")
    assert admitted(window, 5, limit=9) == [("b", 105)]


def test_what_the_others_do_not_want_is_there_for_one_that_does():
    window = filled(*(entry("flood", at) for at in range(50)), entry("b", 1), entry("c", 2))
    assert Counter(name for name, _ in admitted(window, 50, limit=10)) == {"flood": 8, "b": 1, "c": 1}


def test_everybody_may_have_one_however_small_the_limit():
    window = filled(*(entry(name, at) for name in "abcdef" for at in range(3)))
    assert Counter(name for name, _ in admitted(window, 50, limit=2)) == dict.fromkeys("abcdef", 1)


def test_coming_and_going_does_not_win_turns():
    window = filled(*(entry("steady", at) for at in range(100)))
    served = Counter()
    for at in range(20):
        window.offer(entry("fleeting", 1000 + at))
        each = window.next(0.0, 100)
        assert each
        served[each.algorithm] += 1
        window.release(each.algorithm)
    assert served == {"steady": 10, "fleeting": 10}


def test_a_blocked_algorithm_is_passed_over_and_does_not_make_up_for_it():
    window = filled(*(entry("a", at) for at in range(50)), *(entry("b", at) for at in range(50)))
    for _ in range(10):
        each = window.next(0.0, 100, lambda name: name == "a")
        assert each
        assert each.algorithm == "b"
    assert Counter(name for name, _ in admitted(window, 10)) == {"a": 6, "b": 4}
    assert window.next(0.0, 100, lambda _: True) is None


def test_a_retry_waits_until_it_is_due_and_keeps_its_age():
    window = filled(*(entry("a", at) for at in range(5)))
    first = window.next(0.0, 100)
    assert first
    window.put_back(first, 30.0)
    assert len(window) == 5
    assert admitted(window, 2, now=29.0) == [("a", 1), ("a", 2)]
    assert window.next(30.0, 100) is first


def test_a_retry_is_not_pending_and_needs_no_room():
    window: LookAhead[int] = LookAhead(1)
    window.offer(entry("a", 0))
    first = window.next(0.0, 1)
    assert first
    assert window.offer(entry("a", 1))
    window.put_back(first, 5.0)
    assert len(window) == 2
    assert not window.offer(entry("a", 2))
    assert admitted(window, 9, limit=1) == [("a", 1)]


def test_next_due_is_the_first_retry_that_is_still_to_come():
    window = filled(*(entry("a", at) for at in range(3)))
    assert window.next_due(0.0) is None
    held = [window.next(0.0, 10) for _ in range(3)]
    for each, due in zip(held, (20.0, 10.0, 30.0), strict=True):
        assert each
        window.put_back(each, due)
    assert [window.next_due(now) for now in (0.0, 10.0, 25.0, 30.0)] == [10.0, 20.0, 30.0, None]
    assert len(admitted(window, 9, now=30.0)) == 3


def test_a_discarded_entry_is_gone_whether_ready_or_to_be_retried():
    entries = [entry("a", at) for at in range(10)]
    window = filled(*entries)
    first = window.next(0.0, 100)
    assert first is entries[0]
    assert not window.discard(first), "it does not wait any more"
    window.put_back(first, 10.0)
    assert window.discard(first)
    assert window.next_due(0.0) is None
    assert window.discard(entries[1])
    assert window.discard(entries[5])
    assert not window.discard(entries[5])
    assert len(window) == 7
    assert [at for _, at in admitted(window, 20, now=100.0)] == [2, 3, 4, 6, 7, 8, 9]


def test_a_discarded_retry_does_not_come_back_when_it_would_have_been_due():
    window = filled(*(entry("a", at) for at in range(5)))
    first = window.next(0.0, 100)
    assert first
    window.put_back(first, 10.0)
    window.discard(first)
    assert admitted(window, 9, now=10.0) == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]


def test_discarding_a_head_leaves_the_others_in_order():
    old, young = entry("a", 0), entry("a", 9)
    window = filled(old, young, entry("b", 5), *(entry("c", 100) for _ in range(9)))
    window.discard(old)
    assert admitted(window, 2) == [("b", 5), ("a", 9)]


def test_a_dropped_partition_takes_its_entries_along():
    window = filled(*(entry("a", at, partition=at % 3) for at in range(30)))
    first, second = window.next(0.0, 100), window.next(0.0, 100)
    assert first
    assert second
    window.put_back(first, 10.0)
    assert first.partition == 0
    window.drop_partition(0)
    assert len(window) == 19
    assert window.next_due(0.0) is None
    assert all(at % 3 for _, at in admitted(window, 30, now=10.0))


def test_releasing_more_than_was_admitted_changes_nothing():
    window = filled(*(entry("a", at) for at in range(9)))
    window.release("a")
    window.release("nobody")
    assert len(admitted(window, 9, limit=3)) == 3


def test_a_full_window_with_many_algorithms_is_emptied_completely():
    window = filled(*(entry(f"algorithm-{number % 500}", number) for number in range(10_000)))
    served = []
    while each := window.next(0.0, 2000):
        served.append(each.algorithm)
        if len(served) >= 1000:
            window.release(served[len(served) - 1000])
    assert len(served) == 10_000
    assert all(len(set(served[turn : turn + 500])) == 500 for turn in range(0, 10_000, 500))


@settings(deadline=None)
@given(
    before=st.lists(st.sampled_from("abcd"), max_size=60),
    picks=st.lists(st.booleans(), max_size=40),
    newcomer=st.floats(0, 1e9),
)
def test_a_newcomer_is_served_within_as_many_picks_as_there_are_algorithms(before, picks, newcomer):
    window = filled(*(entry(name, at) for at, name in enumerate(before)))
    for release in picks:
        each = window.next(0.0, 1000)
        if each and release:
            window.release(each.algorithm)
    late = entry("new", newcomer)
    window.offer(late)
    assert late in [window.next(0.0, 1000) for _ in range(5)]


def of(tenant: str, number: int, weight: int = 1, algorithm: str = "a") -> list[Entry[int]]:
    return [entry(algorithm, at, tenant=tenant, weight=weight) for at in range(number)]


def picked(window: LookAhead[int], picks: int, *, limit: int = 1000, keep: int = 0) -> list[str]:
    """Tenants of the next entries. Of their Jobs the last `keep` stay pending."""
    found: list[Entry[int]] = []
    for _ in range(picks):
        if each := window.next(0.0, limit):
            found.append(each)
        if len(found) >= keep + 1 and each:
            old = found[-keep - 1]
            window.release(old.algorithm, old.tenant)
    return [each.tenant for each in found]


@pytest.mark.parametrize("keep", [0, 5, 100])
def test_tenants_are_served_by_their_weights(keep):
    window = filled(*of("large", 1000, 3), *of("small", 1000, 1))
    served = Counter(picked(window, 1000, keep=keep))
    assert served["large"] == pytest.approx(750, rel=0.1)
    assert served["small"] == pytest.approx(250, rel=0.1)


def test_tenants_have_their_part_of_the_pending_jobs_by_their_weights():
    window = filled(*of("large", 100, 3), *of("small", 100, 1))
    assert Counter(picked(window, 100, limit=40, keep=100)) == {"large": 30, "small": 10}
    window.release("a", "small")
    assert picked(window, 5, limit=40, keep=100) == ["small"]


def test_what_a_tenant_does_not_want_is_there_for_the_others():
    window = filled(*of("large", 2, 3), *of("small", 100, 1))
    assert Counter(picked(window, 100, limit=40, keep=100)) == {"large": 2, "small": 38}


def test_many_algorithms_do_not_give_a_tenant_more():
    window = filled(
        *(each for number in range(50) for each in of("many", 10, algorithm=f"algorithm-{number}")),
        *of("one", 500),
    )
    served = [window.next(0.0, 1000) for _ in range(200)]
    assert Counter(each.tenant for each in served if each) == {"many": 100, "one": 100}
    assert len({each.algorithm for each in served if each and each.tenant == "many"}) == 50


def test_the_algorithms_of_a_tenant_share_its_turns():
    window = filled(*of("t", 50, 2, "a"), *of("t", 50, 2, "b"), *of("other", 50, 2, "a"))
    served = Counter((each.tenant, each.algorithm) for _ in range(40) if (each := window.next(0.0, 1000)))
    assert served == {("t", "a"): 10, ("t", "b"): 10, ("other", "a"): 20}


def test_a_hundred_thousand_of_one_tenant_do_not_delay_the_one_of_another():
    window: LookAhead[int] = LookAhead(200_000)
    for each in of("flood", 100_000, 1000):
        assert window.offer(each)
    picked(window, 50)
    window.offer(entry("a", 1e9, tenant="other"))
    assert "other" in picked(window, 2)


def test_a_new_weight_holds_from_the_next_request_on():
    window = filled(*of("changed", 1000, 1), *of("other", 1000, 1))
    picked(window, 100)
    window.offer(entry("a", 1e9, tenant="changed", weight=4))
    assert Counter(picked(window, 500))["changed"] == pytest.approx(400, rel=0.02)


def test_the_same_algorithm_of_two_tenants_is_released_apart():
    window = filled(*of("s", 10), *of("t", 10))
    assert Counter(picked(window, 20, limit=4, keep=100)) == {"s": 2, "t": 2}
    window.release("a", "s")
    assert picked(window, 20, limit=4, keep=100) == ["s"]


WEIGHTS = {"s": 1, "t": 3, "u": 50, "v": 1000}


@settings(deadline=None)
@given(
    before=st.lists(st.tuples(st.sampled_from("stuv"), st.sampled_from("ab")), max_size=60),
    picks=st.lists(st.booleans(), max_size=40),
    weight=st.integers(1, 1000),
)
def test_a_new_tenant_is_served_within_as_many_picks_as_there_are_tenants(before, picks, weight):
    window = filled(
        *(entry(name, at, tenant=tenant, weight=WEIGHTS[tenant]) for at, (tenant, name) in enumerate(before))
    )
    for release in picks:
        each = window.next(0.0, 1000)
        if each and release:
            window.release(each.algorithm, each.tenant)
    late = entry("a", 1e9, tenant="new", weight=weight)
    window.offer(late)
    assert late in [window.next(0.0, 1000) for _ in range(5)]


@settings(deadline=None)
@given(
    weights=st.lists(st.integers(1, 10), min_size=2, max_size=5),
    keep=st.integers(0, 20),
    algorithms=st.integers(1, 3),
)
def test_no_tenant_is_ever_more_than_a_turn_behind_its_share(weights, keep, algorithms):
    window = filled(
        *(
            entry(f"algorithm-{at % algorithms}", at, tenant=f"tenant-{nth}", weight=weight)
            for nth, weight in enumerate(weights)
            for at in range(200)
        )
    )
    served = Counter[str]()
    for number, tenant in enumerate(picked(window, 150, keep=keep, limit=10_000), 1):
        served[tenant] += 1
        for nth, weight in enumerate(weights):
            share = number * weight / sum(weights)
            assert served[f"tenant-{nth}"] > share - len(weights), (number, nth)


def lane(each: Entry[int]) -> tuple[str, str]:
    return each.tenant, each.algorithm


class Admission(RuleBasedStateMachine):
    """Whatever is done to a window: every entry is in one place, and comes out as the rules say."""

    def __init__(self) -> None:
        super().__init__()
        self.window: LookAhead[int] = LookAhead(25)
        self.now = 0.0
        self.ready: set[Entry[int]] = set()
        self.delayed: dict[Entry[int], float] = {}
        self.held: list[Entry[int]] = []

    @rule(
        name=st.sampled_from("abc"),
        at=st.integers(0, 5),
        partition=st.integers(0, 2),
        tenant=st.sampled_from(["", "s", "t"]),
        weight=st.integers(1, 9),
    )
    def offer(self, name, at, partition, tenant, weight):
        each = entry(name, at, partition=partition, tenant=tenant, weight=weight)
        full = len(self.ready) + len(self.delayed) >= 25
        assert self.window.offer(each) is not full
        if not full:
            self.ready.add(each)

    @rule(limit=st.integers(0, 12))
    def admit(self, limit):
        pending = Counter(lane(each) for each in self.held)
        holding = {each.tenant for each in self.held}
        each = self.window.next(self.now, limit)
        self.wake()
        if each is None:
            assert holding.issuperset(other.tenant for other in self.ready)
            if len({other.tenant for other in self.ready}) == 1:
                assert all(pending[lane(other)] for other in self.ready)
            assert not self.ready or len(self.held) >= limit
            return
        assert each in self.ready
        assert each.at == min(other.at for other in self.ready if lane(other) == lane(each))
        assert pending[lane(each)] < max(1, limit)
        self.ready.remove(each)
        self.held.append(each)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), later=st.floats(0, 10))
    def retry(self, data, later):
        each = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.window.put_back(each, self.now + later)
        self.delayed[each] = self.now + later

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data):
        each = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.window.release(each.algorithm, each.tenant)

    @precondition(lambda self: self.ready or self.delayed)
    @rule(data=st.data())
    def discard(self, data):
        waiting = sorted([*self.ready, *self.delayed], key=lambda each: each.ack)
        each = data.draw(st.sampled_from(waiting))
        assert self.window.discard(each)
        self.ready.discard(each)
        self.delayed.pop(each, None)

    @rule(partition=st.integers(0, 2))
    def drop(self, partition):
        self.window.drop_partition(partition)
        self.ready = {each for each in self.ready if each.partition != partition}
        self.delayed = {each: due for each, due in self.delayed.items() if each.partition != partition}

    @rule(seconds=st.floats(0, 10))
    def later(self, seconds):
        self.now += seconds

    @rule()
    def look(self):
        self.wake()
        assert self.window.next_due(self.now) == min(self.delayed.values(), default=None)

    def wake(self) -> None:
        due = {each for each, when in self.delayed.items() if when <= self.now}
        self.ready |= due
        self.delayed = {each: when for each, when in self.delayed.items() if each not in due}

    @invariant()
    def counts_what_waits(self):
        assert len(self.window) == len(self.ready) + len(self.delayed)
        waiting = [*self.ready, *self.delayed]
        assert self.window.oldest == min((each.at for each in waiting), default=None)

    def teardown(self) -> None:
        """Nothing is lost: all that waits comes out in the end, once."""
        out = []
        while each := self.window.next(self.now + 1000.0, 10_000):
            out.append(each)
        assert Counter(out) == Counter([*self.ready, *self.delayed])


Admission.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestAdmission = Admission.TestCase


def test_a_request_is_parked_when_it_was_refused_for_long_enough():
    assert not should_defer(100.0, 399.9, 300.0)
    assert should_defer(100.0, 400.0, 300.0)


def test_retries_come_at_growing_intervals():
    assert [retry_delay(attempt, 0.0) for attempt in (1, 2, 3, 6, 7, 1_000_000)] == [0.5, 1, 2, 16, 30, 30]
    assert retry_delay(3, 1.0) == 1.0


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_retry_is_never_at_once_and_never_beyond_the_cap(attempt, jitter):
    assert 0.25 <= retry_delay(attempt, jitter) <= 30.0
