"""A long queue: what it costs in memory. And completions: how fast reports are taken and projected."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from nexus.domain.access import Capabilities
from tests.bench.figures import Pair
from tests.bench.load import Load, post
from tests.bench.report import Result, Row, paired
from tests.e2e.nexus_process import NexusProcess
from tests.support.factories import run_requested

__all__ = ["CONNECTIONS", "PROVING", "completions", "memory", "proved", "reports"]

BODY = json.dumps({"algorithmParameters": {"pad": "x" * 200}}).encode()
CONNECTIONS = 64
QUEUED = {"cluster__slots": "1", "throttle__rate": "0.001", "throttle__burst": "1"}
"""No Job takes part of the machine."""
KEY = "k" * 32
PROVING = {"auth__reports": "capability", "auth__capability_keys": KEY}


async def memory(counts: tuple[int, ...] = (1_000, 100_000)) -> Result:
    """Of `nexus dev`, once so many runs are queued behind Jobs that do not end."""
    rows = []
    with tempfile.TemporaryDirectory() as where:
        nexus = NexusProcess(
            Path(where) / "state", cluster__slots="1", throttle__rate="1", throttle__burst="1"
        )
        await nexus.start()
        queued = 0
        for count in counts:
            await _submit(nexus, count - queued, "hold")
            queued = count
            await _folded(nexus)
            size = psutil.Process(nexus.pid).memory_info().rss / 2**20
            rows.append(Row(f"memory of `nexus dev`, {count:,} runs queued", size, "MiB"))
        nexus.kill()
        await nexus.http.aclose()
    return Result(rows)


async def completions(count: int = 5_000) -> Result:
    """Reports for runs that wait in the queue, so that no Job takes part of the machine."""
    with tempfile.TemporaryDirectory() as where:
        nexus = NexusProcess(Path(where) / "state", **QUEUED)
        await nexus.start()
        ids = await _submit(nexus, count, "hold")
        await _folded(nexus)
        requests = reports("hold", ids)
        load = Load(lambda: next(requests, None))
        started = time.perf_counter()
        await load.run("127.0.0.1", nexus.port, CONNECTIONS)

        async def all_projected() -> bool:
            return not [run async for run in nexus.all_runs(stage="BUFFERED")]

        await nexus.until(all_projected)
        projected = count / (time.perf_counter() - started)
        nexus.kill()
        await nexus.http.aclose()
    return Result(
        [Row("completions answered", load.rate, "/s"), Row("completions projected", projected, "/s")],
        "Completions: reports for runs that wait in the queue, with all roles in one process.",
    )


async def proved(rounds: int = 3, count: int = 3_000) -> Result:
    """Reports with a capability beside reports that need none, in turn, each of a `nexus dev` of its own."""
    rates = Pair()
    for _ in range(rounds):
        rates.bare.append(await _answered(count, {}))
        rates.ours.append(await _answered(count, PROVING))
    return Result(
        [paired("completions answered, with a capability", "/s", rates, "1.6 of those without")],
        "With a capability: the receiver does not read the run's row. Bare: with `auth.reports: open`.",
    )


async def _answered(count: int, settings: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as where:
        nexus = NexusProcess(Path(where) / "state", **QUEUED, **settings)
        await nexus.start()
        ids = await _submit(nexus, count, "hold")
        await _folded(nexus)
        requests = reports("hold", ids, "nexus" if settings else "")
        load = Load(lambda: next(requests, None))
        await load.run("127.0.0.1", nexus.port, CONNECTIONS)
        nexus.kill()
        await nexus.http.aclose()
    return load.rate


def reports(algorithm: str, ids: Sequence[str], installation: str = "") -> Iterator[bytes]:
    """Whole requests; with the capabilities of this installation, where one is named."""
    capabilities = Capabilities([KEY.encode()], installation, timedelta(hours=1))
    now = datetime.now(UTC)
    for request_id in ids:
        capability = capabilities.of(run_requested(request_id, algorithm=algorithm), now)
        prefix = f"/as/{capability}" if installation else ""
        path = f"{prefix}/algorithm/v1/complete/{algorithm}/requests/{request_id}"
        yield post(path, b'{"resultUri": "s3://bucket/result"}')


async def _submit(nexus: NexusProcess, count: int, algorithm: str) -> list[str]:
    requests = iter([post(f"/algorithm/v1/run/{algorithm}", BODY)] * count)
    load = Load(lambda: next(requests, None))
    await load.run("127.0.0.1", nexus.port, CONNECTIONS)
    return [json.loads(body)["requestId"] for body in load.bodies]


async def _folded(nexus: NexusProcess) -> None:
    """A run that was submitted last is readable once everything before it is."""
    run_id = await nexus.submit("hold")
    async with asyncio.timeout(600):
        while (await nexus.http.get(f"/api/v1/runs/{run_id}")).status_code != 200:
            await asyncio.sleep(0.1)
    await nexus.cancel("hold", run_id)
