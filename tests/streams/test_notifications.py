"""Notifications: one for each run that ended, of the end that stands, however often it is said."""

from __future__ import annotations

import asyncio

import pytest

from nexus.domain.events import Parent, RunEnded, RunFailed, RunTagged
from nexus.domain.topics import RESULTS, RUNS
from tests.streams.conftest import Installation, run_id
from tests.support.factories import after, cancelled, completed, diagnosis, fact, job_created

RUN = run_id(1)


@pytest.fixture
async def nexus(installation):
    """With a ledger that follows, and notifications."""
    installation.start_ledger()
    installation.start_notifications()
    return installation


async def announced(nexus: Installation) -> list[RunEnded]:
    """What there is to read once everything that was said is announced."""
    await nexus.consumed("notifications", RUNS)
    return await nexus.said(RESULTS)


async def test_the_end_of_a_run_is_announced(nexus):
    parent = Parent(request_id=run_id(9), algorithm_name="parent")
    await nexus.queued(parent=parent, tag="a tag")
    await nexus.say(job_created(request_id=RUN), completed(request_id=RUN, result_uri="s3://results/7"))
    [ended] = await announced(nexus)
    assert ended == RunEnded(
        request_id=RUN,
        algorithm="hello-world",
        at=after(3),
        status="COMPLETED",
        result_uri="s3://results/7",
        run_error_message="",
        tag="a tag",
        parent=parent,
    )


async def test_only_the_first_end_is_announced(nexus):
    failed = fact(RunFailed, request_id=RUN, diagnosis=diagnosis("no such column"))
    await nexus.queued()
    await nexus.say(failed, completed(request_id=RUN), cancelled(request_id=RUN))
    [ended] = await announced(nexus)
    assert (ended.status, ended.run_error_message) == ("FAILED", "no such column")
    await nexus.say(cancelled(9, request_id=RUN, reason="too late"))
    assert await announced(nexus) == [ended]


async def test_a_run_that_goes_on_is_not_announced(nexus):
    await nexus.queued()
    await nexus.say(job_created(request_id=RUN), fact(RunTagged, request_id=RUN, tag="x"))
    assert await announced(nexus) == []


async def test_the_end_of_no_run_is_not_announced(nexus):
    await nexus.queued()
    await nexus.say(completed(request_id=run_id(5)), completed(request_id=RUN))
    assert [ended.request_id for ended in await announced(nexus)] == [RUN]


async def test_another_algorithms_word_ends_nothing(nexus):
    await nexus.queued()
    await nexus.say(completed(request_id=RUN, algorithm="another"))
    assert await announced(nexus) == []


async def test_one_for_each_of_many(nexus):
    ids = [run_id(number) for number in range(40)]
    await nexus.say(*(nexus.request(number) for number in range(40)))
    await nexus.caught_up()
    await nexus.say(*(completed(request_id=run) for run in ids))
    await nexus.say(*(cancelled(request_id=run) for run in ids))
    assert sorted(ended.request_id for ended in await announced(nexus)) == ids


async def test_it_waits_for_the_ledger(installation):
    """What ended a run is known when its row is folded."""
    installation.start_notifications()
    await installation.say(installation.request(), cancelled(request_id=RUN), completed(request_id=RUN))
    for _ in range(50):
        await asyncio.sleep(0)
    assert await installation.said(RESULTS) == []
    installation.start_ledger()
    [ended] = await announced(installation)
    assert ended.status == "CANCELLED"


async def test_after_a_crash_it_is_repeated_under_the_same_id(installation):
    """Whoever reads the notifications knows a repeat by its id, even if the run got another tag in between."""
    installation.start_ledger()
    first = installation.start_notifications("first")
    await installation.queued(tag="before")
    await installation.say(completed(request_id=RUN))
    await installation.consumed("first", RUNS)
    await installation.stop(first)
    await installation.say(fact(RunTagged, request_id=RUN, tag="after"))
    await installation.caught_up()
    installation.start_notifications("that never committed")
    await installation.consumed("that never committed", RUNS)
    once, again = await installation.records(RESULTS)
    assert once.headers["ce_id"] == again.headers["ce_id"]
    assert [ended.tag for ended in await installation.said(RESULTS)] == ["before", "after"]
