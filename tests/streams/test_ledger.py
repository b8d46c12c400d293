"""The ledger: rows, histories and payloads are what the log says, however often and in whatever batches it comes."""

from __future__ import annotations

import pytest

from nexus.domain.events import DeadLettered, RunRequeued, RunStarted, encode_event
from nexus.domain.run import Stage
from nexus.domain.topics import DEAD_LETTERS, OBSERVATIONS, RUNS, UnknownEvent, requests_of, to_record
from nexus.ports import Partition
from streams.ledger.ledger import Ledger
from tests.streams.conftest import REQUESTS, TOPICS, run_id
from tests.support.factories import after, cancelled, completed, fact, folded, job_created, run_observed


def facts_of(run: str):
    return [
        job_created(request_id=run),
        fact(RunStarted, 2, request_id=run, started_at=after(2)),
        completed(request_id=run),
        cancelled(4, request_id=run),
    ]


async def test_requests_and_facts_in_one_batch(installation):
    ids = [run_id(number) for number in range(20)]
    for run in ids:
        await installation.say(*facts_of(run))
    await installation.say(*(installation.request(number) for number in range(20)))
    ledger = Ledger(installation.store, installation.journal, installation.clock)
    installation.drive(ledger, RUNS, REQUESTS)
    await installation.caught_up()
    for number, run in enumerate(ids):
        row = await installation.store.get(run)
        assert (row.stage, row.job_uid, row.started_at) == (Stage.COMPLETED, "job-uid", after(2)), number
        history = await installation.store.history(run)
        assert [type(entry.event).__name__ for entry in history] == [
            "RunRequested",
            "JobCreated",
            "RunStarted",
            "RunCompleted",
            "RunCancelled",
        ]
    assert await installation.said(DEAD_LETTERS) == []


async def test_the_row_is_the_fold_of_its_facts(installation):
    request = installation.request()
    facts = facts_of(request.request_id)
    await installation.say(request, *facts)
    installation.start_ledger()
    row = await installation.reaches(request.request_id, lambda run: run.position == len(facts) - 1)
    assert row == folded(*facts, request=request)


@pytest.mark.parametrize("batch", [1, 3, 500])
async def test_what_comes_again_changes_nothing(installation, batch):
    ids = [run_id(number) for number in range(8)]
    await installation.say(*(installation.request(number) for number in range(8)))
    first = installation.start_ledger("first")
    for position in range(4):
        await installation.say(*(facts_of(run)[position] for run in ids))
    await installation.caught_up()
    await installation.stop(first)
    before = await installation.rows(ids)
    for consumers in ("again", "and again"):
        again = installation.start_ledger(consumers, batch)
        await installation.caught_up()
        assert await installation.rows(ids) == before
        await installation.stop(again)
        assert await installation.committed(consumers, RUNS) == await installation.ends(RUNS)


async def test_a_fact_said_twice_is_in_the_history_once(installation):
    run = run_id(1)
    await installation.say(installation.request(), *facts_of(run), *facts_of(run))
    installation.start_ledger()
    row = await installation.reaches(run, lambda row: row.position == 7)
    assert row.stage is Stage.COMPLETED
    assert [entry.offset for entry in await installation.store.history(run)] == [-1, 0, 1, 2, 3]


async def test_a_fact_of_no_run_is_dead_lettered_and_the_rest_is_folded(installation):
    stray = completed(request_id=run_id(9))
    await installation.say(stray, installation.request(1), job_created(request_id=run_id(1)))
    installation.start_ledger()
    await installation.caught_up()
    assert await installation.store.get(run_id(9)) is None
    assert (await installation.store.get(run_id(1))).stage is Stage.RUNNING
    [letter] = await installation.said(DEAD_LETTERS)
    assert isinstance(letter, DeadLettered)
    assert (letter.request_id, letter.topic, letter.offset) == (run_id(9), RUNS, 0)
    assert letter.record == encode_event(stray)
    assert "never requested" in letter.reason
    # Nor does a request that comes later make it a fact of that run.
    await installation.say(installation.request(9))
    row = await installation.reaches(run_id(9), lambda run: True)
    assert row.stage is Stage.BUFFERED


async def test_an_event_that_is_no_fact_is_dead_lettered(installation):
    await installation.say(installation.request(1))
    seen = to_record(run_observed(request_id=run_id(1)), "tests")
    assert seen.topic == OBSERVATIONS
    await installation.append(RUNS, seen.key, seen.value, **seen.headers)
    installation.start_ledger()
    await installation.caught_up()
    assert (await installation.store.get(run_id(1))).position == -1
    assert len(await installation.said(DEAD_LETTERS)) == 1


@pytest.mark.parametrize("topic", [RUNS, REQUESTS])
@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"{", {"ce_type": "nexus.RunCompleted.v1", "ce_id": "1"}),
        (b"\xff\xfe", {"ce_type": "nexus.RunRequested.v1", "ce_id": "1"}),
        (b'{"type":"RunCompleted","requestId":5}', {"ce_type": "nexus.RunCompleted.v1", "ce_id": "1"}),
        (b"{}", {}),
    ],
)
async def test_a_damaged_record_is_dead_lettered_and_passed_over(installation, topic, value, headers):
    await installation.append(topic, run_id(5), value, **headers)
    await installation.say(installation.request(1))
    installation.start_ledger()
    await installation.reaches(run_id(1), lambda run: True)
    await installation.consumed("ledger", topic)
    [letter] = await installation.said(DEAD_LETTERS)
    assert (letter.request_id, letter.topic, letter.record) == (run_id(5), topic, value)
    assert letter.reason
    assert await installation.store.get(run_id(5)) is None


async def test_what_a_newer_release_wrote_stops_the_ledger(installation):
    newer = to_record(completed(request_id=run_id(1)), "tests")
    await installation.say(installation.request(1))
    await installation.append(
        RUNS, newer.key, newer.value, **newer.headers | {"ce_type": "nexus.RunCompleted.v2"}
    )
    ledger = Ledger(installation.store, installation.journal, installation.clock)
    driver = installation.drive(ledger, REQUESTS, RUNS, consumers="ledger")
    with pytest.raises(UnknownEvent, match=r"RunCompleted\.v2.*upgrade"):
        await driver
    with pytest.raises(UnknownEvent):
        await installation.stop(driver)
    assert await installation.store.get(run_id(1)) is None
    assert await installation.store.watermark() is None
    for topic in (REQUESTS, RUNS):
        assert await installation.committed("ledger", topic) == [0] * TOPICS[topic]
    assert await installation.said(DEAD_LETTERS) == []


async def test_a_cluster_that_comes_holds_up_no_watermark(installation):
    """Nothing can have been accepted for it, and who waits for the watermark need not wait for its first record."""
    ledger = installation.start_ledger()
    await installation.queued(1)
    await installation.caught_up()
    await installation.stop(ledger)
    before = await installation.store.watermark()
    await installation.log.make(requests_of("new"), 2)
    folding = Ledger(installation.store, installation.journal, installation.clock)
    every = [Partition(REQUESTS, 0), Partition(requests_of("new"), 0), Partition(requests_of("new"), 1)]
    await folding.assigned(every, every)
    assert await installation.store.watermark() == before
    assert every[1] in await installation.store.folded()


async def test_what_lies_in_a_topic_already_has_to_be_folded_first(installation):
    await installation.say(installation.request(1))
    ledger = Ledger(installation.store, installation.journal, installation.clock)
    every = [Partition(REQUESTS, number) for number in range(TOPICS[REQUESTS])]
    await ledger.assigned(every, every)
    assert await installation.store.watermark() is None
    assert set(await installation.store.folded()) == set(every)


async def test_an_inline_payload_is_kept_as_it_was_sent(installation):
    body = b'{"b" : 1.0, \n "a":[1e400, 12345678901234567890]}'
    request = installation.request(1, payload=body)
    await installation.say(request)
    installation.start_ledger()
    row = await installation.reaches(request.request_id, lambda run: True)
    assert await installation.store.payload(run_id(1)) == body
    assert bytes(row.request.payload) == b""
    # Out of its parking the request comes again, without its payload.
    await installation.say(row.request, fact(RunRequeued, request_id=run_id(1), attempt=0))
    await installation.reaches(run_id(1), lambda run: run.position == 0)
    await installation.caught_up()
    assert await installation.store.payload(run_id(1)) == body


async def test_a_payload_that_lies_elsewhere_is_not_kept(installation):
    row = folded(request=installation.request(1))  # a request without its payload
    await installation.say(row.request)
    installation.start_ledger()
    await installation.reaches(run_id(1), lambda run: True)
    assert await installation.store.payload(run_id(1)) is None
