"""A long queue: what it costs in memory. And completions: how fast reports are taken and projected."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench.load import Load, post
from tests.bench.report import Result, Row
from tests.e2e.nexus_process import NexusProcess

__all__ = ["completions", "memory"]

BODY = json.dumps({"algorithmParameters": {"pad": "x" * 200}}).encode()
CONNECTIONS = 64


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
        nexus = NexusProcess(
            Path(where) / "state", cluster__slots="1", throttle__rate="0.001", throttle__burst="1"
        )
        await nexus.start()
        ids = await _submit(nexus, count, "hold")
        await _folded(nexus)
        requests = _reports(ids)
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


def _reports(ids: list[str]) -> Iterator[bytes]:
    for request_id in ids:
        yield post(
            f"/algorithm/v1/complete/hold/requests/{request_id}", b'{"resultUri": "s3://bucket/result"}'
        )


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
