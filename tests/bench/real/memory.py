"""What a long queue costs each role in memory."""

from __future__ import annotations

import json

import psutil

from tests.bench.load import post
from tests.bench.real.accepts import BODY, load
from tests.bench.real.jobs import UNTHROTTLED
from tests.bench.real.kept import opened_store, readable
from tests.bench.real.servers import BenchServers, Site
from tests.bench.report import Result, Row

__all__ = ["measure"]

_ROLES = ("api", "ledger", "scheduler")
_CLOSED = {**UNTHROTTLED, "throttle__rate": "0.001", "throttle__burst": "1"}


async def measure(servers: BenchServers, short: int = 10_000, long: int = 300_000) -> Result:
    """Resident memory of each process once so many runs are queued and can be read."""
    rows = []
    async with Site.opened(servers, **_CLOSED) as site, opened_store(site) as store:
        await site.start(*_ROLES)
        queued = 0
        for count in (short, long):
            submitted = await load(site.api.port, post("/algorithm/v1/run/brief", BODY), count=count - queued)
            ids = [json.loads(body)["requestId"] for body in submitted.bodies]
            await readable(store, ids, lambda run: True)
            queued = count
            for role in _ROLES:
                size = psutil.Process(site.processes[role].pid).memory_info().rss / 2**20
                rows.append(Row(f"memory of `nexus {role}`, {count:,} runs queued", size, "MiB"))
    return Result(sorted(rows, key=lambda row: row.what.partition(",")[0]))
