"""Capabilities: what proves which run somebody is, and what does not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.access import Capabilities, derived
from tests.support.factories import ALGORITHM, AT, REQUEST_ID, algorithm, run_requested

OLD, NEW = derived(b"o" * 32), derived(b"n" * 32)
HOUR = timedelta(hours=1)
REQUEST = run_requested(spec=algorithm(runtimeEnvironment={"deadlineSeconds": 600, "maximumRetries": 1}))


def of(*keys, installation="nexus"):
    return Capabilities(keys, installation, HOUR)


def problem(capabilities, capability, *, run=REQUEST_ID, name=ALGORITHM, after=timedelta(0)):
    return capabilities.problem(capability, run, name, AT + after)


def test_it_proves_its_own_run_until_its_deadline_and_the_allowance():
    capability = of(NEW).of(REQUEST, AT)
    limit = timedelta(seconds=600) + HOUR
    assert problem(of(NEW), capability) == ""
    assert problem(of(NEW), capability, after=limit) == ""
    assert "expired" in problem(of(NEW), capability, after=limit + timedelta(seconds=1))


def test_a_run_without_a_deadline_may_report_for_long():
    endless = run_requested(spec=algorithm(runtimeEnvironment={}))
    assert problem(of(NEW), of(NEW).of(endless, AT), after=timedelta(days=30)) == ""
    assert "expired" in problem(of(NEW), of(NEW).of(endless, AT), after=timedelta(days=31))


def test_it_proves_no_other_run_algorithm_or_installation():
    capability = of(NEW).of(REQUEST, AT)
    for wrong in (
        problem(of(NEW), capability, run=REQUEST_ID[:-1] + "f"),
        problem(of(NEW), capability, name=f"{ALGORITHM}2"),
        problem(of(NEW, installation="another"), capability),
        problem(of(OLD), capability),
    ):
        assert "not that of this run" in wrong


def test_keys_rotate():
    former = of(OLD).of(REQUEST, AT)
    assert problem(of(NEW, OLD), former) == ""
    assert problem(of(NEW, OLD), of(NEW, OLD).of(REQUEST, AT)) == ""
    assert of(NEW, OLD).of(REQUEST, AT) == of(NEW).of(REQUEST, AT)
    assert problem(of(NEW), former)


@pytest.mark.parametrize("text", ["", ".", "x", "ffffffffffff.", "ffffffffffffff.x", "é.é", "0x1.", "-1.x"])
def test_what_is_none_proves_nothing(text):
    assert problem(of(NEW), text)


@given(st.integers(0, 60), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_change_anywhere_proves_nothing(position, character):
    capability = of(NEW).of(REQUEST, AT)
    at = position % len(capability)
    changed = capability[:at] + character + capability[at + 1 :]
    assert (problem(of(NEW), changed) == "") is (changed == capability)
    assert problem(of(NEW), capability[:at])


def test_a_later_end_cannot_be_written_into_it():
    times, _, seal = of(NEW).of(REQUEST, AT).partition(".")
    made, _, until = times.partition("-")
    assert problem(of(NEW), f"{made}-{int(until, 16) + 10**6:x}.{seal}")
    assert problem(of(NEW), f"{int(made, 16) + 10**6:x}-{until}.{seal}")


def test_while_it_is_young_its_run_cannot_have_ended_too_long_ago():
    capability = of(NEW).of(REQUEST, AT)
    assert of(NEW).young(capability, AT + HOUR - timedelta(seconds=1))
    assert not of(NEW).young(capability, AT + HOUR)  # whole seconds are kept


def test_the_key_is_another_than_that_of_addresses_and_tells_nothing_of_it():
    assert derived(b"o" * 32) not in {b"o" * 32, derived(b"n" * 32)}
    assert len(derived(b"o" * 32)) == 32
