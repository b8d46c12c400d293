"""What a process says of itself while its disk is full."""

from __future__ import annotations

import json

import psutil
import pytest
import pytest_asyncio

from tests.e2e.nexus_process import NexusProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOM = 64 * 1024
"""Bytes that a file may have while the disk is full: the log has more already, and what the process prints has less."""


@pytest_asyncio.fixture(loop_scope="session")
async def nexus(tmp_path):
    nexus = NexusProcess(tmp_path / "state")
    await nexus.start()
    yield nexus
    nexus.stop()


async def test_a_full_disk_is_told_by_readiness_and_forgotten_when_there_is_room(nexus):
    large = {"filler": "x" * 60_000}
    for _ in range(3):
        await nexus.submit("scripted", large, dry_run=True)
    process = psutil.Process(nexus.pid)
    unlimited = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (ROOM, unlimited[1]))

    async def not_ready():
        answer = await nexus.http.get("/readyz")
        return answer.text if answer.status_code == 503 else None

    said = await nexus.until(not_ready)
    [line] = [line for line in said.splitlines() if "append" in line]
    assert line.startswith("api, receiver, ledger, supervisor, scheduler, watcher cannot append to the log: ")
    assert "log.db cannot be written" in line
    assert "check the disk's space" in line
    body = json.dumps({"algorithmParameters": large}).encode()
    refused = await nexus.http.post("/algorithm/v1/run/scripted", content=body, params={"dryRun": "true"})
    assert refused.status_code == 503
    assert (await nexus.http.get("/livez")).status_code == 200

    process.rlimit(psutil.RLIMIT_FSIZE, unlimited)
    await nexus.ready()
    assert (await nexus.ended(await nexus.submit("scripted", large, dry_run=True)))["stage"] == "COMPLETED"
