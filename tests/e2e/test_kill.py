"""SIGKILL at random moments: what was accepted ends, each run ran in one Job, the projections are a fold of the log."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random

import httpx
import pytest

from tests.e2e.nexus_process import NexusProcess

RUNS = 200
KILLS = 3


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_killed_and_started_again(seed, tmp_path, monkeypatch):
    chance = random.Random(seed)
    trace = tmp_path / "trace"
    monkeypatch.setitem(os.environ, "TRACE", str(trace))
    nexus = NexusProcess(tmp_path / "state", cluster__slots="8")
    await nexus.start()

    accepted: list[str] = []
    submitting = asyncio.create_task(submit_all(nexus, accepted, chance))
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.1, 2.5))
        nexus.kill()
        await nexus.start()
    await submitting
    assert len(accepted) >= RUNS

    async def all_ended() -> bool:
        ended = {run["requestId"] async for run in nexus.all_runs() if run["state"] == "ended"}
        return ended >= set(accepted)

    await nexus.until(all_ended, seconds=180)

    async def all_collected() -> bool:
        return all([run["collectedAt"] or not run["jobUid"] async for run in nexus.all_runs()])

    await nexus.until(all_collected, seconds=120)

    ran = collections.Counter(trace.read_text().splitlines())
    assert set(ran.values()) == {1}, [line for line, times in ran.items() if times > 1]

    log = [json.loads(line) for line in nexus.command("replay").stdout.splitlines()]
    jobs = collections.defaultdict(set)
    for event in log:
        if event["type"].startswith("nexus.JobCreated"):
            jobs[event["subject"]].add(event["data"]["jobUid"])
    assert {len(uids) for uids in jobs.values()} == {1}

    ends = collections.defaultdict(set)
    for notification in nexus.notifications():
        ends[notification["requestId"]].add(json.dumps(notification, sort_keys=True))
    assert ends.keys() >= set(accepted)
    assert {len(said) for said in ends.values()} == {1}, "an end that is announced again says the same"

    assert nexus.stop() == 0
    verified = nexus.command("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    outcome = json.loads(verified.stdout)
    assert (outcome["differences"], outcome["behind"]) == ([], 0)
    assert outcome["runs"] >= len(accepted)
    await nexus.http.aclose()


async def submit_all(nexus: NexusProcess, accepted: list[str], chance: random.Random) -> None:
    """Some algorithms report, some do not. An answer that was lost counts as not accepted, and is sent again."""
    while len(accepted) < RUNS:
        algorithm, parameters = chance.choice(
            [("traced", {}), ("traced", {}), ("scripted", {"mode": "success"})]
        )
        try:
            accepted.append(await nexus.submit(algorithm, parameters))
        except (httpx.TransportError, AssertionError):
            await asyncio.sleep(0.05)
        await asyncio.sleep(chance.uniform(0, 0.03))
