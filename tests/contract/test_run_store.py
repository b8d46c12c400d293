"""The contract of the run store: every adapter passes these."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from nexus.domain.events import JobCreated, Parent, RunCancelled, RunCompleted, encode_event, event_id
from nexus.domain.figures import Figures
from nexus.domain.reachability import Contact
from nexus.domain.run import Run, Stage, begin, fold
from nexus.domain.verdict import Verdict
from nexus.embedded.run_store import SqliteRunStore
from nexus.ports import Folded, FoldedFact, Partition, RunFilter
from tests.contract.at_once import AtOnce
from tests.simulation.stores import Projections, SimulatedRunStore
from tests.support.cassandra import cassandra_store
from tests.support.factories import run_requested
from tests.support.servers import on_server

START = datetime(2026, 1, 1, tzinfo=UTC)
ONE, OTHER = Partition("nexus.runs", 0), Partition("nexus.runs", 1)


@pytest.fixture(params=["embedded", "simulated", *on_server("cassandra_schema", "cassandra", "keyspaces")])
def server(request):
    """How to reach the engine, where it is one that is reached."""
    if request.param in {"embedded", "simulated"}:
        return request.param
    return replace(request.getfixturevalue("cassandra_schema"), flavour=request.param)


@pytest.fixture
async def store(server, tmp_path):
    if server == "simulated":
        yield SimulatedRunStore(Projections(), AtOnce())
    elif server == "embedded":
        store = SqliteRunStore(tmp_path / "projections.db")
        yield store
        store.close()
    else:
        async with cassandra_store(server) as store:
            yield store


def request_id(number: int) -> str:
    """A UUIDv7 of when that run was queued."""
    millis = f"{int((START + timedelta(seconds=number)).timestamp() * 1000):012x}"
    return f"{millis[:8]}-{millis[8:]}-7000-8000-000000000000"


def queued(number: int, **fields) -> Run:
    return begin(run_requested(request_id=request_id(number), at=START + timedelta(seconds=number), **fields))


def created(run: Run, seconds: float = 1) -> JobCreated:
    at = run.request.at + timedelta(seconds=seconds)
    return JobCreated(
        request_id=run.id,
        algorithm=run.request.algorithm,
        at=at,
        job_uid="uid",
        cluster="standalone",
        cluster_id="c",
    )


def completed(run: Run, seconds: float = 2) -> RunCompleted:
    at = run.request.at + timedelta(seconds=seconds)
    return RunCompleted(request_id=run.id, algorithm=run.request.algorithm, at=at, result_uri="s3://r")


async def keep(store, *runs: Run) -> None:
    await store.write([Folded(run, []) for run in runs])


async def test_a_row_is_read_as_it_was_written(store):
    run = fold(fold(queued(1, tag="t"), created(queued(1)), 0), completed(queued(1)), 1)
    await keep(store, run)
    assert await store.get(run.id) == run


async def test_what_is_not_there_is_none(store):
    assert await store.get(request_id(9)) is None
    assert await store.payload(request_id(9)) is None
    assert await store.history(request_id(9)) == []
    assert await store.get_many([request_id(9)]) == {}


async def test_the_last_write_of_a_row_stands(store):
    run = queued(1)
    await keep(store, run)
    later = fold(run, created(run), 5)
    await keep(store, later)
    assert await store.get(run.id) == later


async def test_many_rows_at_once(store):
    runs = [queued(number) for number in range(1200)]
    await keep(store, *runs)
    found = await store.get_many([run.id for run in runs] + [request_id(9999)])
    assert found == {run.id: run for run in runs}


async def test_history_is_in_the_order_of_the_log_and_keeps_each_event_once(store):
    run = queued(1)
    entries = [
        FoldedFact(offset, event_id(fact), encode_event(fact))
        for offset, fact in ((7, completed(run)), (3, created(run)))
    ]
    await store.write([Folded(run, entries)])
    await store.write([Folded(run, [FoldedFact(9, event_id(created(run)), encode_event(created(run)))])])
    history = await store.history(run.id)
    assert [(entry.offset, type(entry.event).__name__) for entry in history] == [
        (-1, "RunRequested"),
        (3, "JobCreated"),
        (7, "RunCompleted"),
    ]


async def test_a_payload_keeps_its_bytes(store):
    body = b'{"a" :1.0,\n "b":12345678901234567890}'
    await store.write([Folded(queued(1), [], body)])
    assert await store.payload(request_id(1)) == body


async def test_listing_is_newest_first_in_pages(store):
    await keep(store, *(queued(number) for number in range(10)))
    first = await store.find(RunFilter(), 4)
    second = await store.find(RunFilter(), 4, first[-1].id)
    assert [run.id for run in (*first, *second)] == [request_id(number) for number in range(9, 1, -1)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (RunFilter(algorithm="a"), {1, 2}),
        (RunFilter(tag="t"), {1, 3}),
        (RunFilter(tag=""), set()),
        (RunFilter(parent=request_id(1)), {2}),
        (RunFilter(stage=Stage.COMPLETED), {3}),
        (RunFilter(algorithm="a", tag="t"), {1}),
        (RunFilter(since=START + timedelta(seconds=2)), {2, 3}),
        (RunFilter(until=START + timedelta(seconds=2)), {1}),
    ],
)
async def test_filters_hold_together(store, where, expected):
    parent = Parent(request_id=request_id(1), algorithm_name="a")
    done = queued(3, algorithm="b", tag="t")
    await keep(
        store,
        queued(1, algorithm="a", tag="t"),
        queued(2, algorithm="a", parent=parent),
        fold(done, completed(done), 1),
    )
    assert {run.id for run in await store.find(where, 10)} == {request_id(number) for number in expected}


async def test_queued_runs_are_due_at_their_placement_deadline_or_when_their_parking_is_over(store):
    waits, late, parked = queued(1), queued(2), queued(3)
    waits = replace(waits, request=replace(waits.request, placement_deadline=START + timedelta(hours=2)))
    late = replace(late, request=replace(late.request, placement_deadline=START + timedelta(minutes=2)))
    parked = replace(parked, deferred_until=START + timedelta(minutes=1), deferrals=1)
    placed = fold(queued(4), created(queued(4)), 1)
    await keep(store, waits, late, parked, placed)
    assert await store.due(START + timedelta(hours=1), 10) == [parked, late]
    assert await store.due(START + timedelta(hours=1), 1) == [parked]
    assert await store.due(START, 10) == []


async def test_running_runs_that_have_not_changed_in_pages(store):
    runs = [fold(queued(number), created(queued(number)), 1) for number in range(5)]
    ended = fold(runs[1], completed(runs[1]), 2)
    await keep(store, queued(9), *runs, ended)
    before = START + timedelta(seconds=100)
    first = await store.running(before, 2)
    assert [run.id for run in first] == [request_id(0), request_id(2)]
    assert [run.id for run in await store.running(before, 2, first[-1].id)] == [request_id(3), request_id(4)]
    assert await store.running(START, 10) == []


async def test_uncollected_runs_are_ended_ones_with_a_job(store):
    with_job = fold(fold(queued(1), created(queued(1)), 1), completed(queued(1)), 2)
    cancelled = RunCancelled(request_id=request_id(2), algorithm=queued(2).request.algorithm, at=START)
    await keep(store, with_job, fold(queued(2), cancelled, 1), fold(queued(3), created(queued(3)), 1))
    assert await store.uncollected(START + timedelta(seconds=100), 10) == [with_job]
    assert await store.uncollected(START, 10) == []


async def test_the_watermark_only_goes_forward(store):
    assert await store.watermark() is None
    await store.advance({ONE: START + timedelta(seconds=5)})
    await store.advance({ONE: START})
    assert await store.watermark() == START + timedelta(seconds=5)


async def test_the_watermark_is_that_of_the_slowest_partition(store):
    await store.expect([ONE, OTHER])
    await store.advance({ONE: START + timedelta(seconds=5)})
    assert await store.watermark() is None
    await store.advance({OTHER: START + timedelta(seconds=3)})
    assert await store.watermark() == START + timedelta(seconds=3)
    await store.expect([ONE, OTHER])  # as each ledger does that joins
    assert await store.watermark() == START + timedelta(seconds=3)


async def test_each_partition_tells_what_it_was_advanced_to(store):
    assert await store.folded() == {}
    await store.expect([ONE, OTHER])
    await store.advance({ONE: START})
    assert await store.folded() == {ONE: START, OTHER: None}
    await store.note_contacts([Contact("eu", "uid-1", START)])
    await store.advance({OTHER: START, ONE: START - timedelta(seconds=1)})
    assert await store.folded() == {ONE: START, OTHER: START}


async def test_when_a_cluster_was_last_heard_only_goes_forward(store):
    assert await store.contacts() == []
    near, far = (Contact(name, f"uid-{name}", START + timedelta(seconds=5)) for name in ("eu.west", "us-1"))
    await store.note_contacts([near, far])
    later = replace(near, at=START + timedelta(seconds=9))
    await store.note_contacts([later, replace(far, at=START)])
    assert sorted(await store.contacts(), key=lambda heard: heard.cluster) == [later, far]
    assert await store.watermark() is None


async def test_each_process_tells_of_each_cluster_what_it_last_knew(store):
    assert await store.figures() == []
    first = Figures(cluster="eu", source="scheduler/a", at=START, nexus=("1.0",), queued=3, rate=2.5)
    other = replace(first, source="watcher/a", queued=None, rate=None)
    await store.note_figures([first, replace(first, cluster="us", oldest=START)])
    await store.note_figures([other])
    await store.note_figures([])
    later = replace(first, at=START + timedelta(seconds=5), queued=None)
    await store.note_figures([later])
    assert await store.figures() == [later, other, replace(first, cluster="us", oldest=START)]


async def test_a_cluster_that_got_the_name_of_another_is_heard_by_itself(store):
    first, second = Contact("eu", "uid-1", START), Contact("eu", "uid-2", START + timedelta(seconds=1))
    await store.note_contacts([first])
    await store.note_contacts([second])
    assert {heard.identity: heard.at for heard in await store.contacts()} == {
        "uid-1": first.at,
        "uid-2": second.at,
    }


async def test_hearing_nothing_changes_nothing(store):
    await store.note_contacts([])
    assert await store.contacts() == []


async def test_the_last_word_of_a_cluster_stands(store):
    now = datetime.now(UTC).replace(microsecond=0)
    await store.judged([Verdict("eu", "a", now, "no such field"), Verdict("eu", "b", now)])
    await store.judged([Verdict("us", "a", now, "too large")])
    await store.judged([Verdict("eu", "a", now + timedelta(seconds=1)), Verdict("eu", "c", now, "ü" * 5000)])
    assert sorted(await store.verdicts("eu"), key=lambda verdict: verdict.digest) == [
        Verdict("eu", "a", now + timedelta(seconds=1)),
        Verdict("eu", "b", now),
        Verdict("eu", "c", now, "ü" * 5000),
    ]
    assert await store.verdicts("us") == [Verdict("us", "a", now, "too large")]
    assert await store.verdicts("asia") == []
