"""What is left over goes, on real processes and files; what would go is listed first."""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import uuid_utils

from nexus.domain.job import Materializer
from nexus.domain.observed import Metadata
from nexus.embedded.cluster.job_table import Manifests, Stored
from nexus.embedded.cluster.status import stamp
from tests.e2e.nexus_process import NexusProcess
from tests.support.factories import algorithm, run_requested

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def plant(state: Path, installation: str, command: str) -> Metadata:
    """A Job that no run has, as it is on the disk of a cluster that nobody runs."""
    request = run_requested(
        str(uuid_utils.uuid7()), algorithm="hold", spec=algorithm(command=command, args=[])
    )
    job = Materializer(installation, "1", timedelta(days=7)).job(request, "http://payload")
    with closing(Manifests(state / "cluster" / "manifests.db")) as manifests:
        await manifests.put(stored := Stored(uid=str(uuid.uuid4()), created=stamp(), job=job))
    return Metadata(name=request.request_id, uid=stored.uid)


async def test_what_is_left_over_is_listed_and_then_goes(tmp_path):
    keeping = {
        "garbage__job_grace": "100ms",
        "garbage__payload_retention": "100ms",
        "placement__deadline": "1m",
        "garbage__payload_grace": "2m",
    }
    nexus = NexusProcess(tmp_path, **keeping, garbage__interval="1h")
    await nexus.start()
    run_id = await nexus.submit("scripted", {"mode": "success", "pad": "x" * 100_000})
    await nexus.collected(run_id)
    assert nexus.stop() == 0
    await nexus.http.aclose()
    orphan = await plant(tmp_path, "nexus", "sleep 60")
    foreign = await plant(tmp_path, "another", "true")
    payload = tmp_path / "payloads" / "algorithm=scripted" / run_id

    nexus = NexusProcess(tmp_path, **keeping, garbage__interval="1h")
    await nexus.start()

    async def listed() -> dict[str, str]:
        done = nexus.command("garbage", "--json")
        assert done.returncode == 0, done.stderr
        return {each["name"]: each["because"] for each in json.loads(done.stdout)["garbage"]}

    async def both_listed() -> bool:
        return len(await listed()) == 2

    await nexus.until(both_listed)
    assert await listed() == {
        orphan.name: "there is no run of its name",
        f"algorithm=scripted/{run_id}": "its run has ended",
    }
    assert payload.exists()
    assert (tmp_path / "cluster" / "jobs" / orphan.uid).exists()
    assert nexus.stop() == 0
    await nexus.http.aclose()

    nexus = NexusProcess(tmp_path, **keeping, garbage__interval="200ms")
    await nexus.start()

    async def nothing_listed() -> bool:
        return await listed() == {}

    await nexus.until(nothing_listed)
    assert not payload.exists()
    assert not (tmp_path / "cluster" / "jobs" / orphan.uid).exists()
    assert (tmp_path / "cluster" / "jobs" / foreign.uid).exists()
    assert (await nexus.event_types(run_id))[-2:] == ["PayloadCollected"] * 2
    said = [json.loads(line) for line in nexus.command("replay", "--run", orphan.name).stdout.splitlines()]
    assert [(e["type"], e["data"].get("confirmed", False)) for e in said] == [
        ("nexus.OrphanCollected.v1", False),
        ("nexus.OrphanCollected.v1", True),
    ]
    assert nexus.command("verify").returncode == 0
    assert "nothing is left over" in nexus.command("garbage").stderr
    assert nexus.stop() == 0
    await nexus.http.aclose()
