"""What may be committed of a partition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus.ports import Position, Record
from streams.drivers.acks import Acks

OFFSETS = st.lists(st.integers(0, 60), unique=True, max_size=30).map(sorted)
"""In the order of the log, with gaps."""


def record(offset: int) -> Record:
    return Record(Position("topic", 0, offset), "key", b"value", {}, 0.0)


@given(OFFSETS, st.data())
def test_what_is_settled_never_passes_a_held_record(offsets, data):
    acks = Acks(0)
    deliveries = [acks.deliver(record(offset)) for offset in offsets]
    held = set(offsets)
    end = offsets[-1] + 1 if offsets else 0
    for delivery in data.draw(
        st.lists(st.sampled_from(deliveries), max_size=60) if deliveries else st.just([])
    ):
        delivery.ack()
        held.discard(delivery.record.position.offset)
        if data.draw(st.booleans()):
            assert acks.settled() == min(held, default=end)
    assert acks.settled() == min(held, default=end)


@given(OFFSETS, st.data())
def test_every_order_of_acknowledging_settles_everything(offsets, data):
    acks = Acks(0)
    deliveries = [acks.deliver(record(offset)) for offset in offsets]
    before = acks.settled()
    for delivery in data.draw(st.permutations(deliveries)):
        delivery.ack()
        assert acks.settled() >= before
        before = acks.settled()
    assert acks.settled() == acks.next


def test_an_acknowledgement_of_long_ago_is_forgotten():
    acks = Acks(0)
    first = acks.deliver(record(3))
    first.ack()
    assert acks.settled() == 4
    second = acks.deliver(record(7))
    first.ack()
    assert acks.settled() == 7
    second.ack()
    assert acks.settled() == 8


def test_before_the_first_delivery_the_start_is_settled():
    assert Acks(12).settled() == 12
