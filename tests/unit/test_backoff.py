"""Trying again: without end, and slower each time."""

from __future__ import annotations

import asyncio

import pytest

from nexus import backoff
from nexus.backoff import Backoff, retry
from nexus.domain.backoff import delay
from nexus.domain.errors import Refused, Unavailable


@pytest.fixture
def slept(monkeypatch):
    """The pauses that were made, each over at once. Chance takes nothing off."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(backoff.random, "random", lambda: 0.0)
    monkeypatch.setattr(backoff.asyncio, "sleep", sleep)
    return pauses


async def test_what_is_away_is_tried_until_it_answers(slept):
    answers = [Unavailable("away")] * 7

    async def attempt() -> str:
        if answers:
            raise answers.pop()
        return "here"

    assert await retry(attempt) == "here"
    assert slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0]


async def test_a_refusal_is_not_tried_again(slept):
    async def attempt() -> None:
        raise Refused(422, "no")

    with pytest.raises(Refused):
        await retry(attempt)
    assert slept == []


async def test_pauses_are_short_again_after_a_while_without_any(slept, monkeypatch):
    moments = iter([100.0, 101.0, 103.0, 115.0, 128.0])
    pauses = Backoff(first=1.0, longest=4.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: next(moments))
    for _ in range(5):
        await pauses.pause()
    monkeypatch.undo()
    # The fourth comes eight seconds after the third was over, the last nine after the fourth.
    assert slept == [1.0, 2.0, 4.0, 4.0, 1.0]


def test_chance_takes_up_to_half_off():
    assert delay(3, 0.0, 0.1, 3.0) == pytest.approx(0.4)
    assert delay(3, 1.0, 0.1, 3.0) == pytest.approx(0.2)
    assert delay(10**9, 0.0, 0.1, 3.0) == 3.0
