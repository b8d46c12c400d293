"""Large bodies at the same time: flat memory, and probes that are answered meanwhile."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIZE = 40_000_000
TOGETHER = 6


def peak(pid: int) -> int:
    """The most bytes that a process ever had in memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def test_large_bodies_at_the_same_time_take_little_memory(nexus):
    before = peak(nexus.pid)
    body = b'{"algorithmParameters":{"a":[%b0]}}' % (b"1.25, " * (SIZE // 6))
    path = "/algorithm/v1/run/quick?dryRun=true"
    uploads = [asyncio.create_task(nexus.http.post(path, content=body, timeout=120)) for _ in range(TOGETHER)]
    while not all(upload.done() for upload in uploads):
        assert (await nexus.http.get("/livez", timeout=60)).status_code == 200
    answers = [upload.result() for upload in uploads]
    assert [answer.status_code for answer in answers] == [202] * TOGETHER
    assert peak(nexus.pid) - before < SIZE * TOGETHER / 1.5
    # Whoever submitted them reads them back.
    run = answers[0].json()["requestId"]
    moved = await nexus.http.get(f"/algorithm/v1/payload/quick/requests/{run}", timeout=60)
    there = await nexus.http.get(moved.headers["location"], timeout=60)
    assert b'{"algorithmParameters":' + there.content + b"}" == body
