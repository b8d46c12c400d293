"""What the run store on Cassandra holds to beyond the contract: upstream's rows, zombies, lives and deaths."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from nexus.cassandra import schema
from nexus.cassandra.claims import CassandraClaims
from nexus.cassandra.connection import connect, open_session
from nexus.cassandra.rows import CHECKPOINT, run_of_checkpoint
from nexus.cassandra.run_store import CassandraRunStore
from nexus.domain.errors import ConfigError, OutcomeUnknown, Unavailable
from nexus.domain.events import JobCreated, Parent, RunCompleted, RunFailed, encode_event, event_id
from nexus.domain.run import Run, Stage, begin, fold
from nexus.ports import Claim, Folded, FoldedFact, RunFilter
from tests.support.cassandra import cassandra_session, cassandra_store, drop_keyspace, now
from tests.support.factories import algorithm, diagnosis, fact, job_created, run_requested
from tests.support.proxy import proxied

SPEC = {
    "container": {"image": "algorithms/hello", "registry": "registry.example.com", "versionTag": "v1"},
    "command": "python main.py",
    "workgroupRef": {"name": "default"},
}


@pytest.fixture(params=["cassandra", "keyspaces"])
def server(request, cassandra_schema):
    return replace(cassandra_schema, flavour=request.param)


@pytest.fixture
async def session(cassandra_schema):
    async with cassandra_session(cassandra_schema) as session:
        yield session


@pytest.fixture
async def store(session, cassandra_schema):
    return await CassandraRunStore.open(session, cassandra_schema, now)


def queued(at: datetime | None = None, **fields) -> Run:
    at = at or now()
    return begin(run_requested(request_id=id_made(at), at=at, **fields))


def id_made(at: datetime) -> str:
    """A UUIDv7 of that time."""
    millis = f"{int(at.timestamp() * 1000):012x}"
    return f"{millis[:8]}-{millis[8:]}-7{str(uuid4())[15:]}"


def then(run: Run, position: int, kind=RunCompleted, **fields) -> Run:
    said = fact(kind, request_id=run.id, algorithm=run.request.algorithm, **fields)
    return fold(run, replace(said, at=run.request.at + timedelta(seconds=position)), position)


def placed(run: Run, position: int) -> Run:
    return then(run, position, JobCreated, job_uid="u", cluster="c", cluster_id="c")


async def keep(store, *runs: Run) -> None:
    await store.write([Folded(run, []) for run in runs])


async def test_a_late_write_of_a_ledger_that_lost_its_partition_is_lost(server):
    """It folded the same log, but no further, and was held up before it wrote."""
    async with (
        cassandra_store(server) as zombie,
        await open_session(replace(server, flavour="cassandra")) as session,
    ):
        ledger = await CassandraRunStore.open(session, server, now)
        run = queued()
        await keep(zombie, run)
        await zombie.get_many([run.id])
        ended = then(placed(run, 3), 7)
        await keep(ledger, ended)
        await keep(zombie, placed(run, 3))
        assert await ledger.get(run.id) == ended
        assert await ledger.find(RunFilter(stage=Stage.RUNNING), 10) == []
        assert await ledger.find(RunFilter(stage=Stage.COMPLETED), 10) == [ended]
        assert await ledger.uncollected(now() + timedelta(minutes=1), 10) == [ended]


async def test_ledgers_that_race_leave_the_furthest_state(server):
    async with (
        cassandra_store(server) as one,
        await open_session(replace(server, flavour="cassandra")) as session,
    ):
        other = await CassandraRunStore.open(session, server, now)
        runs = [queued() for _ in range(50)]
        steps = [runs, [placed(run, 1) for run in runs], [then(placed(run, 1), 2) for run in runs]]

        async def ledger(store):
            for states in steps:
                await keep(store, *states)

        await asyncio.gather(ledger(one), ledger(other))
        assert await one.get_many([run.id for run in runs]) == {run.id: run for run in steps[-1]}


async def test_two_ledgers_that_folded_the_same_write_the_same(session, cassandra_schema):
    run = placed(queued(), 3)
    rows = []
    for _ in range(2):
        await keep(await CassandraRunStore.open(session, cassandra_schema, now), run)
        rows += await session.execute(
            "SELECT state, position, WRITETIME(state), WRITETIME(tag), WRITETIME(payload_uri) FROM checkpoints"
        )
    first, second = rows
    assert first == second
    assert first[2] == first[3] > first[4] > datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1e6


async def test_rows_go_when_their_time_is_over_counted_from_the_request(session, store, cassandra_schema):
    half, over = queued(at=now() - cassandra_schema.row_lifetime / 2), queued(at=now() - timedelta(days=400))
    entries = [FoldedFact(3, event_id(job_created()), encode_event(job_created()))]
    await store.write([Folded(run, entries, b"{}") for run in (half, over)])
    for run, expected in ((half, cassandra_schema.row_lifetime / 2), (over, timedelta(hours=1))):
        key = f"WHERE algorithm = '{run.request.algorithm}' AND id = '{run.id}'"
        for column, table in (
            ("state", "checkpoints"),
            ("spec", "checkpoints"),
            ("event", "run_events"),
            ("body", "payloads"),
        ):
            column = "applied_configuration" if column == "spec" else column
            [(left,)] = await session.execute(f"SELECT TTL({column}) FROM {table} {key}")
            assert expected.total_seconds() - 60 < left <= expected.total_seconds()


@pytest.mark.parametrize("encoded", [True, False], ids=["base64", "plain"])
async def test_a_checkpoint_of_upstream_is_read(session, store, encoded):
    def column(value):
        text = json.dumps(value)
        return f"b64__{base64.b64encode(text.encode()).decode()}" if encoded else text

    row = {
        "algorithm": "hello",
        "id": "5a3c4f9b-fd94-48d4-99cd-d9d7cbf6cfd1",
        "lifecycle_stage": "FAILED",
        "payload_uri": "https://payloads/1",
        "result_uri": "",
        "algorithm_failure_cause": "boom",
        "algorithm_failure_details": "it did",
        "received_by_host": "nexus-0",
        "received_at": "2026-01-02T03:04:05Z",
        "sent_at": "2026-01-02T03:04:06Z",
        "applied_configuration": column(SPEC),
        "configuration_overrides": column({}),
        "content_hash": "ZTM5YjVkOTg=",
        "last_modified": "2026-01-02T03:05:00Z",
        "tag": "t",
        "api_version": "v1",
        "job_uid": "uid",
        "parent": column({"requestId": "p", "algorithmName": "a"}),
        "payload_valid_for": "24h0m0s",
    }
    values = ", ".join("'" + value.replace("'", "''") + "'" for value in row.values())
    await session.execute(f"INSERT INTO checkpoints ({', '.join(row)}) VALUES ({values})")
    run = await store.checkpoint("hello", row["id"])
    assert run.stage is Stage.FAILED
    assert run.ended
    assert (run.diagnosis.cause, run.diagnosis.details) == ("boom", "it did")
    assert run.request.spec.container.image == "algorithms/hello"
    assert run.request.overrides is None
    assert run.request.parent == Parent(request_id="p", algorithm_name="a")
    assert (run.request.workgroup, run.tag, run.job_uid) == ("default", "t", "uid")
    assert run.request.at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert run.sent_at == datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
    assert await store.checkpoint("hello", id_made(now())) is None


async def test_our_rows_have_every_column_that_upstream_reads(session, store):
    run = queued(
        tag="t",
        overrides=algorithm(),
        parent=Parent(request_id="p", algorithm_name="a"),
        api_version="v1",
    )
    run = then(placed(run, 1), 2, RunFailed, diagnosis=diagnosis("boom", details="it did"))
    await keep(store, run)
    [columns] = await session.execute(f"SELECT {', '.join(CHECKPOINT)} FROM checkpoints")
    row = dict(zip(CHECKPOINT, columns, strict=True))
    assert [name for name, value in row.items() if value is None] == []
    assert row["applied_configuration"].startswith("b64__")
    read = run_of_checkpoint(row)
    assert read.request.spec == run.request.spec
    assert read.request.overrides == run.request.overrides
    assert read.request.parent == run.request.parent
    assert read.diagnosis.cause == "boom"
    assert read.sent_at == to_millis(run.sent_at)


def to_millis(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def test_nothing_that_is_unset_leaves_a_tombstone(session, store):
    await keep(store, queued())
    [(sent_at,)] = await session.execute("SELECT WRITETIME(sent_at) FROM checkpoints")
    assert sent_at is None


async def test_hints_that_disagree_are_passed_over_and_removed(session, server, cassandra_schema):
    """What a ledger leaves that died before it had removed a run from the lists that it left."""
    times = [now()]
    store = await CassandraRunStore.open(session, server, lambda: times[0])
    runs = [placed(queued(), 1) for _ in range(3)]
    await keep(store, *runs)
    restarted = await CassandraRunStore.open(session, server, lambda: times[0])
    ended = then(runs[0], 2)
    await keep(restarted, ended)
    later = now() + timedelta(minutes=10)
    assert {run.id for run in await store.running(later, 10)} == {run.id for run in runs[1:]}
    assert await listed(session, "stage/RUNNING") == {run.id for run in runs}
    times[0] = later
    await store.running(later, 10)
    assert await listed(session, "stage/RUNNING") == {run.id for run in runs[1:]}


async def test_buckets_that_are_empty_for_good_are_not_read_again(session, server):
    times = [now()]
    store = await CassandraRunStore.open(session, server, lambda: times[0])
    run = placed(queued(), 1)
    await keep(store, run)
    assert await buckets(session, "stage/RUNNING") == 1
    await keep(store, then(run, 2))
    await store.running(now(), 10)
    assert await buckets(session, "stage/RUNNING") == 1  # too fresh to tell
    times[0] += timedelta(minutes=10)
    await store.running(now(), 10)
    assert await buckets(session, "stage/RUNNING") == 0
    assert await buckets(session, "stage/COMPLETED") == 1


async def listed(session, scope: str) -> set[str]:
    found = await session.execute("SELECT scope, id FROM listings")
    return {key for where, key in found if where == scope}


async def buckets(session, scope: str) -> int:
    return len(await session.execute(f"SELECT bucket FROM buckets WHERE scope = '{scope}'"))


async def test_lists_go_on_over_many_buckets(store):
    start = now() - timedelta(hours=5)
    runs = [queued(at=start + timedelta(minutes=number), tag="t") for number in range(300)]
    await keep(store, *runs)
    newest = [run.id for run in reversed(runs)]
    found = await store.find(RunFilter(tag="t"), 250)
    assert [run.id for run in found] == newest[:250]
    assert [run.id for run in await store.find(RunFilter(), 100, found[-1].id)] == newest[250:]
    some = RunFilter(since=start + timedelta(minutes=100), until=start + timedelta(minutes=110))
    assert [run.id for run in await store.find(some, 50)] == newest[190:200]


async def test_the_schema_is_applied_once_and_goes_on_after_a_crash(cassandra_server, cassandra_schema):
    config = replace(cassandra_schema, keyspace=f"{cassandra_schema.keyspace}_schema")
    async with await connect(config, None) as session:
        await schema.make_keyspace(session, config)
        await schema.make_keyspace(session, config)
    with pytest.raises(ConfigError, match="nexus schema"):
        await open_session(config)
    async with await connect(config, config.keyspace) as session:
        assert await schema.apply(session) == schema.versions()
        assert await schema.apply(session) == []
        await session.execute("DELETE FROM schema_versions WHERE component = 'nexus' AND version = 1")
        assert [version.number for version in await schema.apply(session)] == [1]
    async with await open_session(config):
        await drop_keyspace(config)


async def test_without_the_keyspace_it_is_said_how_to_make_it(cassandra_schema):
    with pytest.raises(ConfigError, match=r"no keyspace nowhere: make it with `nexus schema`"):
        await open_session(replace(cassandra_schema, keyspace="nowhere"))


async def test_more_replicas_than_nodes_are_refused(session, cassandra_schema):
    with pytest.raises(ConfigError, match=r"cassandra.replicas = 7, but the data centre \w+ has 1 node"):
        await schema.make_keyspace(session, replace(cassandra_schema, keyspace="nowhere", replicas=7))


async def test_where_nobody_listens_it_is_unavailable(cassandra_schema):
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
        await open_session(replace(cassandra_schema, hosts="127.0.0.1:1"))


async def test_a_server_that_dies_and_comes_back_is_used_again(cassandra_server, cassandra_schema):
    async with proxied(cassandra_server) as proxy:
        config = replace(cassandra_schema, hosts=f"127.0.0.1:{proxy.port}")
        async with cassandra_store(config) as store:
            run = queued()
            await keep(store, run)
            await proxy.cut()
            with pytest.raises(Unavailable):
                await store.get(run.id)
            with pytest.raises(Unavailable):
                await keep(store, placed(run, 1))
            await proxy.listen()
            await comes_back(store, run)
            await keep(store, placed(run, 1))
            assert await store.get(run.id) == placed(run, 1)


async def test_of_a_silent_server_a_write_may_have_happened(cassandra_server, cassandra_schema):
    async with proxied(cassandra_server) as proxy:
        config = replace(cassandra_schema, hosts=f"127.0.0.1:{proxy.port}")
        async with cassandra_store(config) as store:
            run = queued()
            await keep(store, run)
            proxy.stop()
            reading, writing = await asyncio.gather(
                store.get(run.id), keep(store, placed(run, 1)), return_exceptions=True
            )
            assert type(reading) is Unavailable
            assert type(writing) is OutcomeUnknown
            proxy.go_on()
            await comes_back(store, run)


async def comes_back(store: CassandraRunStore, run: Run) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                assert await store.get(run.id) is not None
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def test_a_claim_whose_answer_was_lost_is_answered_when_asked_again(cassandra_server, cassandra_schema):
    async with proxied(cassandra_server) as proxy:
        config = replace(cassandra_schema, hosts=f"127.0.0.1:{proxy.port}")
        async with cassandra_session(config) as session:
            claims = await CassandraClaims.open(session, config)
            claim = Claim("hash", b"request")
            assert await claims.claim("a", "other", claim) == claim
            proxy.stop()
            with pytest.raises(OutcomeUnknown):
                await claims.claim("a", "key", claim)
            proxy.go_on()
            async with asyncio.timeout(60):
                while True:
                    try:
                        assert await claims.claim("a", "key", claim) == claim
                    except Unavailable:
                        await asyncio.sleep(0.1)
                    else:
                        break
