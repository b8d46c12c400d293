"""Runs kept and completions projected by `nexus ledger`, beside a driver that writes the same rows and does nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing

from msgspec.structs import replace

from nexus.cassandra.connection import open_session
from nexus.cassandra.driver import Write
from nexus.cassandra.run_store import CassandraRunStore
from nexus.composition.engines import THIS
from nexus.domain.events import RunCompleted, RunRequested
from nexus.domain.run import Run
from tests.bench.figures import Pair
from tests.bench.load import Load, post
from tests.bench.real.log import append, facts_of, make_requests, opened_log
from tests.bench.real.servers import BenchServers, Site
from tests.bench.real.writes import BareDriver, Ledgered
from tests.bench.report import Result, Row, paired
from tests.support.cassandra import drop_keyspace, fresh_keyspace

__all__ = ["bare_driver", "measure", "opened_store", "readable"]

_SAMPLE = 100
_LOOK = 0.1
_PATIENCE = 300
_CONNECTIONS = 64


async def measure(servers: BenchServers, rounds: int = 3, count: int = 10_000) -> Result:
    kept, completed = Pair(), Pair()
    async with (
        Site.opened(servers) as site,
        opened_log(site) as log,
        opened_store(site) as store,
        bare_driver(site) as bare,
    ):
        ledgered = Ledgered(site.cassandra)
        for _ in range(rounds):
            requests = make_requests(count)
            kept.bare.append(count / await _timed(bare, await ledgered.requests(requests)))
            await append(log, requests)
            kept.ours.append(await _folded(site, store, requests, lambda run: True))
            await _must_be_whole(store, requests)

            ends = [fact for each in requests for fact in facts_of(each) if isinstance(fact, RunCompleted)]
            completed.bare.append(count / await _timed(bare, await ledgered.facts([[end] for end in ends])))
            await append(log, ends)
            completed.ours.append(await _folded(site, store, requests, lambda run: run.ended))
        requests = make_requests(count)
        await append(log, requests)
        await _folded(site, store, requests, lambda run: True)
        await site.start("ledger", "receiver")
        answered, projected = await _reported(site, store, requests)
    return Result(
        [
            paired("runs kept", "/s", kept, "1,500/s", "280/s"),
            paired("completions projected by the ledger", "/s", completed, "1,800/s", "900/s"),
            Row("completions answered by the receiver", answered, "/s"),
            Row("and projected, receiver and ledger together", projected, "/s", original="900/s"),
        ],
        f"Kept: {count:,} requests that wait in Kafka, until row, history and payload of each can be read. Completions: as many facts, until "
        f"each row says so; and the same as reports over HTTP, on {_CONNECTIONS} connections. Bare: the same statements, bound and sent by "
        "the driver with 256 in flight.",
    )


@asynccontextmanager
async def opened_store(site: Site) -> AsyncIterator[CassandraRunStore]:
    async with await open_session(site.cassandra) as session:
        yield await CassandraRunStore.open(session, site.cassandra, THIS.clock)


@asynccontextmanager
async def bare_driver(site: Site) -> AsyncIterator[BareDriver]:
    """In a keyspace of its own, with the same schema."""
    config = replace(site.cassandra, keyspace=f"{site.name}_bare")
    await fresh_keyspace(config)
    try:
        with closing(BareDriver(config, config.keyspace)) as driver:
            yield driver
    finally:
        await drop_keyspace(config)


async def _timed(bare: BareDriver, writes: Sequence[Write]) -> float:
    started = time.perf_counter()
    await asyncio.to_thread(bare.write, writes)
    return time.perf_counter() - started


async def _folded(
    site: Site, store: CassandraRunStore, requests: Sequence[RunRequested], done: Callable[[Run], bool]
) -> float:
    """Runs a second of a ledger that is started for this, from the first sight of its work to the end of it."""
    await site.start("ledger")
    rate = await readable(store, [request.request_id for request in requests], done)
    await site.stop("ledger")
    return rate


async def readable(store: CassandraRunStore, ids: Sequence[str], done: Callable[[Run], bool]) -> float:
    """Rows a second that became so, by a sample of them."""
    sample = _some(ids)
    first = 0
    started = 0.0
    async with asyncio.timeout(_PATIENCE):
        while True:
            runs = await store.get_many(sample)
            there = sum(done(run) for run in runs.values())
            if there and not first:
                first, started = there, time.perf_counter()
            if there == len(sample):
                return len(ids) * (1 - first / there) / (time.perf_counter() - started)
            await asyncio.sleep(_LOOK)


async def _must_be_whole(store: CassandraRunStore, requests: Sequence[RunRequested]) -> None:
    rows = await store.get_many([request.request_id for request in requests])
    assert len(rows) == len(requests), f"{len(rows)} rows of {len(requests)}"
    for request in requests[:: 1 + len(requests) // _SAMPLE]:
        assert await store.payload(request.request_id) == bytes(request.payload)
        assert len(await store.history(request.request_id)) == 1


async def _reported(
    site: Site, store: CassandraRunStore, requests: Sequence[RunRequested]
) -> tuple[float, float]:
    ids = [request.request_id for request in requests]
    reports = iter(
        [
            post(f"/algorithm/v1/complete/brief/requests/{key}", b'{"resultUri": "s3://bucket/result"}')
            for key in ids
        ]
    )
    load = Load(lambda: next(reports, None))
    started = time.perf_counter()
    await load.run("127.0.0.1", site.receiver.port, _CONNECTIONS)
    async with asyncio.timeout(_PATIENCE):
        while True:
            runs = await store.get_many(_some(ids))
            if all(run.ended for run in runs.values()):
                return load.rate, len(ids) / (time.perf_counter() - started)
            await asyncio.sleep(_LOOK)


def _some(ids: Sequence[str]) -> list[str]:
    """Of all, and the last of each partition among them."""
    return list({*ids[:: 1 + len(ids) // _SAMPLE], *ids[-_SAMPLE:]})
