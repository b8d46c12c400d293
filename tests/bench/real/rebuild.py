"""Rebuild on Kafka and Cassandra: folding the whole log into empty tables, beside reading, decoding and writing alone."""

from __future__ import annotations

import asyncio
import time
from itertools import chain

from aiokafka import AIOKafkaConsumer

from nexus.cassandra.run_store import CassandraRunStore
from nexus.composition.engines import THIS
from nexus.domain.events import decode_event
from nexus.domain.topics import RUNS, requests_of
from nexus.journal import Journal
from nexus.kafka.event_log import KafkaEventLog
from streams.audit import fold_log
from streams.ledger.ledger import Ledger
from tests.bench.figures import Pair
from tests.bench.real.kept import bare_driver
from tests.bench.real.log import append, facts_of, make_requests, opened_log
from tests.bench.real.servers import BenchServers, Site
from tests.bench.real.writes import Ledgered
from tests.bench.report import Result, paired
from tests.support.cassandra import cassandra_session

__all__ = ["measure"]


async def measure(servers: BenchServers, rounds: int = 3, count: int = 5_000) -> Result:
    figures = Pair()
    async with Site.opened(servers) as site, opened_log(site) as log:
        requests = make_requests(count)
        facts = [facts_of(request) for request in requests]
        await append(log, requests)
        await append(log, list(chain.from_iterable(facts)))
        records = count + sum(len(some) for some in facts)
        for _ in range(rounds):
            async with bare_driver(site) as driver:
                ledgered = Ledgered(site.cassandra)
                writes = await ledgered.requests(requests) + await ledgered.facts(facts)
                started = time.perf_counter()
                await _read(site, records)
                await asyncio.to_thread(driver.write, writes)
                figures.bare.append(records / (time.perf_counter() - started))
            figures.ours.append(records / await _rebuilt(site, log))
    return Result(
        [paired("rebuild", "events/s", figures, "-")],
        f"Rebuild: the requests and the four facts of {count:,} runs, folded into empty tables. Bare: the same records read by a consumer "
        "of aiokafka and decoded, and then the same statements as above.",
    )


async def _rebuilt(site: Site, log: KafkaEventLog) -> float:
    """Seconds."""
    async with cassandra_session(site.cassandra) as session:
        store = await CassandraRunStore.open(session, site.cassandra, THIS.clock)
        started = time.perf_counter()
        await fold_log(log, Ledger(store, Journal(log, "nexus/bench"), THIS.clock))
        return time.perf_counter() - started


async def _read(site: Site, records: int) -> None:
    consumer = AIOKafkaConsumer(
        RUNS,
        requests_of("standalone"),
        bootstrap_servers=site.settings["kafka__servers"],
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        left = records
        while left:
            for some in (await consumer.getmany(timeout_ms=1000, max_records=500)).values():
                for record in some:
                    decode_event(record.value)
                left -= len(some)
    finally:
        await consumer.stop()
