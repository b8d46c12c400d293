"""Durable accepts on Kafka: `nexus api` beside a bare Litestar route that appends the same records."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from nexus.domain.topics import requests_of
from tests.bench.figures import Pair
from tests.bench.load import Load, listening, post
from tests.bench.real.bare import TOPIC
from tests.bench.real.log import opened_log
from tests.bench.real.servers import BenchServers, Site
from tests.bench.report import Result, Row, paired
from tests.e2e.nexus_process import free_port

__all__ = ["BODY", "CONNECTIONS", "measure"]

BODY = json.dumps({"algorithmParameters": {"name": "bench", "pad": "x" * 200}, "tag": "bench"}).encode()
CONNECTIONS = 64
_WARM_UP = 500


async def measure(servers: BenchServers, rounds: int = 5, seconds: float = 5) -> Result:
    figures = Pair()
    async with Site.opened(servers) as site:
        # An API is not ready before some ledger has said how far it is.
        await site.start("api", "ledger")
        await site.stop("ledger")
        ours = post("/algorithm/v1/run/brief", BODY)
        await load(site.api.port, ours, count=_WARM_UP)
        async with _bare(site) as port:
            bare = post("/run/brief", BODY)
            await load(port, bare, count=_WARM_UP)
            latencies: list[float] = []
            for _ in range(rounds):
                figures.bare.append((await load(port, bare, seconds=seconds)).rate)
                latest = await load(site.api.port, ours, seconds=seconds)
                figures.ours.append(latest.rate)
                latencies += latest.latencies
    latest.latencies = latencies
    return Result(
        [
            paired("durable accepts", "/s", figures, "4,000/s", "4,000-5,000/s, nothing stored"),
            Row("accepts, p50", latest.quantile(0.5), "ms"),
            Row("accepts, p99", latest.quantile(0.99), "ms"),
        ],
        f"Accepts: {CONNECTIONS} connections. Bare: a Litestar route on granian that decodes the body and appends the same record with "
        "aiokafka (acks=all, idempotent, linger 2 ms).",
    )


async def load(port: int, request: bytes, *, seconds: float = 0, count: int = 0) -> Load:
    """This request again and again, so many times or for so long."""
    end = time.perf_counter() + seconds
    limited = iter(repeat(request, count))
    made = Load(lambda: next(limited, None) if count else request if time.perf_counter() < end else None)
    await made.run("127.0.0.1", port, CONNECTIONS)
    return made


@asynccontextmanager
async def _bare(site: Site) -> AsyncIterator[int]:
    """The port of the bare API. It appends what ours has appended."""
    async with opened_log(site) as log:
        topic = requests_of("standalone")
        partitions = (await log.topics())[topic]
        record = next(iter(await log.read(topic, 0, 0, 1)))
    path = Path(site.folder, "record.json")
    path.write_bytes(msgspec.json.encode((record.value, record.headers)))
    kafka = site.settings["kafka__servers"]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, partitions, 1)])
        port = free_port()
        server = subprocess.Popen([sys.executable, "-m", "tests.bench.real.bare", kafka, path, str(port)])
        try:
            await listening(port)
            yield port
        finally:
            await asyncio.to_thread(_end, server)
            await admin.delete_topics([TOPIC])
    finally:
        await admin.close()


def _end(server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.wait()
