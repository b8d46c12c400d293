"""The audit: what was said comes again as it was, and projections that are not what the log says are found."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime

import msgspec
import pytest

from nexus.domain.events import RunStarted
from nexus.domain.run import Stage
from nexus.domain.topics import RUNS
from nexus.embedded.group_commit import connect
from nexus.embedded.run_store import SqliteRunStore
from nexus.ports import Folded
from streams.audit import Verification, fold_log, replay, verify
from streams.ledger.ledger import Ledger
from tests.streams.conftest import ELSEWHERE, REQUESTS, Installation, run_id
from tests.support.factories import after, cancelled, completed, fact, folded, job_created

OTHER = "another-algorithm"
TOPICS = [REQUESTS, RUNS]


@pytest.fixture
async def nexus(installation):
    """Ten runs in every stage, folded by a ledger that has stopped."""
    chance = random.Random(1)
    ledger = installation.start_ledger()
    for number in range(10):
        algorithm = OTHER if number % 3 == 0 else "hello-world"
        fields = {"request_id": run_id(number), "algorithm": algorithm}
        facts = [
            job_created(**fields),
            fact(RunStarted, 2, started_at=after(2), **fields),
            completed(**fields),
            cancelled(4, **fields),
        ]
        await installation.queued(number, algorithm=algorithm)
        for each in facts[: chance.randint(0, 4)]:
            await installation.say(each)
            installation.clock.advance(1)
    await installation.caught_up()
    await installation.stop(ledger)
    return installation


@pytest.fixture
async def fresh(nexus, tmp_path) -> AsyncIterator[SqliteRunStore]:
    """The log folded anew."""
    with closing(SqliteRunStore(tmp_path / "fresh.db")) as store:
        await fold_log(nexus.log, Ledger(store, nexus.journal, nexus.clock))
        yield store


async def replayed(nexus: Installation, topics=TOPICS, **where):
    return [event async for _, event in replay(nexus.log, topics, **where)]


# Replay


async def test_everything_comes_again_in_the_order_of_the_log(nexus):
    records = [record async for record, _ in replay(nexus.log, TOPICS)]
    there = [*await nexus.records(REQUESTS), *await nexus.records(RUNS)]
    assert sorted(record.position for record in records) == sorted(record.position for record in there)
    assert [record.timestamp for record in records] == sorted(record.timestamp for record in there)


async def test_one_run_comes_again(nexus):
    expected = [*await nexus.said(REQUESTS, run_id(4)), *await nexus.said(RUNS, run_id(4))]
    assert await replayed(nexus, run=run_id(4)) == expected


async def test_one_algorithm_comes_again(nexus):
    events = await replayed(nexus, algorithm=OTHER)
    assert {event.algorithm for event in events} == {OTHER}
    assert {event.request_id for event in events} == {run_id(number) for number in (0, 3, 6, 9)}


async def test_a_span_of_time_comes_again_without_its_end(nexus):
    every = [record.timestamp async for record, _ in replay(nexus.log, TOPICS)]
    since, until = every[3], every[8]

    def moment(timestamp: float) -> datetime:
        return datetime.fromtimestamp(timestamp, after(0).tzinfo)

    found = [
        record.timestamp
        async for record, _ in replay(nexus.log, TOPICS, since=moment(since), until=moment(until))
    ]
    assert found == [timestamp for timestamp in every if since <= timestamp < until]


async def test_what_is_damaged_is_left_out(nexus):
    before = await replayed(nexus)
    await nexus.append(RUNS, run_id(1), b"{", ce_type="nexus.RunCompleted.v1", ce_id="1")
    assert await replayed(nexus) == before


# Folding anew


async def test_a_fresh_fold_is_what_the_ledger_wrote(nexus, fresh):
    for number in range(10):
        run = run_id(number)
        there = (await nexus.store.get(run), await nexus.store.history(run), await nexus.store.payload(run))
        assert there == (await fresh.get(run), await fresh.history(run), await fresh.payload(run))
    assert await verify(nexus.store, fresh) == Verification(runs=10, behind=0, differences=[])


async def test_folding_counts_its_records_and_folds_requests_first(nexus, tmp_path):
    """Facts lie in lower partitions than some of the requests; none is taken for a stray."""
    progress: list[int] = []
    with closing(SqliteRunStore(tmp_path / "counted.db")) as store:
        count = await fold_log(nexus.log, Ledger(store, nexus.journal, nexus.clock), progress.append)
    records = [*await nexus.records(REQUESTS), *await nexus.records(RUNS)]
    assert count == len(records) == progress[-1]
    assert await nexus.said("nexus.dead-letters") == []


# Differences


async def difference(nexus: Installation, fresh: SqliteRunStore):
    """The only one there is."""
    found = await verify(nexus.store, fresh)
    assert found.behind == 0
    [only] = found.differences
    return only


def tamper(nexus: Installation, statement: str, *values: object) -> None:
    with closing(connect(nexus.projections)) as connection:
        assert connection.execute(statement, values).rowcount == 1


async def test_a_row_that_is_missing(nexus, fresh):
    tamper(nexus, "DELETE FROM runs WHERE id = ?", run_id(3))
    found = await difference(nexus, fresh)
    assert (found.request_id, found.fields) == (run_id(3), [])
    assert "the projections do not" in found.problem


@pytest.mark.parametrize(
    ("field", "value"), [("result_uri", "s3://forged"), ("stage", Stage.FAILED), ("tag", "forged")]
)
async def test_a_row_that_was_changed(nexus, fresh, field, value):
    run = await nexus.store.get(run_id(3))
    forged = msgspec.structs.replace(run, **{field: value})
    tamper(nexus, "UPDATE runs SET state = ? WHERE id = ?", msgspec.json.encode(forged), run.id)
    found = await difference(nexus, fresh)
    assert (found.request_id, found.fields) == (run.id, [field])


async def test_a_row_that_nobody_asked_for(nexus, fresh):
    forged = folded(request=nexus.request(77, cluster=ELSEWHERE))
    await nexus.store.write([Folded(forged, [])])
    found = await difference(nexus, fresh)
    assert found.request_id == run_id(77)
    assert "the log does not" in found.problem


async def test_a_history_that_was_cut(nexus, fresh):
    [run, *_] = [n for n in range(10) if await nexus.types(run_id(n))]
    tamper(nexus, "DELETE FROM history WHERE id = ? AND offset = (SELECT min(offset) FROM history WHERE id = ?)",
           run_id(run), run_id(run))  # fmt: skip
    assert (await difference(nexus, fresh)).fields == ["history"]


async def test_a_payload_that_was_changed(nexus, fresh):
    tamper(nexus, "UPDATE payloads SET body = ? WHERE id = ?", b"forged", run_id(2))
    found = await difference(nexus, fresh)
    assert (found.request_id, found.fields) == (run_id(2), ["payload"])


async def test_a_ledger_that_is_behind_is_late_and_not_wrong(nexus, tmp_path):
    await nexus.say(cancelled(9, request_id=run_id(1), reason="later"))
    with closing(SqliteRunStore(tmp_path / "later.db")) as fresh:
        await fold_log(nexus.log, Ledger(fresh, nexus.journal, nexus.clock))
        found = await verify(nexus.store, fresh)
    assert (found.behind, found.differences) == (1, [])
