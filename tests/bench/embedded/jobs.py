"""Jobs started: the whole way through Nexus beside bare spawns of the same command, and the time from submit to start."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import yaml

from tests.bench.figures import Pair, quantile
from tests.bench.report import Result, Row, paired
from tests.e2e.nexus_process import NexusProcess

__all__ = ["measure"]

SLOTS = 8
COMMANDS = {"python": f"{sys.executable} -c pass", "nothing": "true"}
# The throttle is for clusters that share an API server; here it is the machine that is measured.
UNTHROTTLED = {
    "cluster__slots": str(SLOTS),
    "throttle__rate": "10000",
    "throttle__burst": "10000",
    "throttle__pending_floor": "100",
}


def templates(folder: Path) -> Path:
    """A template for each command, and their workgroup."""
    folder.mkdir()
    for name, command in COMMANDS.items():
        spec = {
            "container": {"image": "bench", "registry": "registry.example.com", "versionTag": "1"},
            "command": command,
            "workgroupRef": {"name": "bench"},
            "runtimeEnvironment": {"maximumRetries": 0},
        }
        _write(folder / f"{name}.yaml", "NexusAlgorithmTemplate", name, spec)
    _write(
        folder / "workgroup.yaml",
        "NexusAlgorithmWorkgroup",
        "bench",
        {"description": "-", "cluster": "standalone"},
    )
    return folder


def _write(path: Path, kind: str, name: str, spec: object) -> None:
    path.write_text(yaml.safe_dump({"kind": kind, "metadata": {"name": name}, "spec": spec}))


async def bare(command: str, count: int) -> float:
    """Spawns per second, as many at a time as there are slots."""
    free = asyncio.Semaphore(SLOTS)

    async def one() -> None:
        async with free:
            process = await asyncio.create_subprocess_exec(*command.split())
            await process.wait()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - started)


async def ours(folder: Path, algorithm: str, count: int) -> float:
    """Pods started per second, from the first start to the last, while everything else goes on too."""
    nexus = NexusProcess(folder / f"state-{time.monotonic_ns()}", folder / "templates", **UNTHROTTLED)
    await nexus.start()
    await asyncio.gather(*(nexus.submit(algorithm) for _ in range(count)))

    async def all_started() -> bool:
        return not [run async for run in nexus.all_runs() if run["startedAt"] is None]

    await nexus.until(all_started, seconds=300)
    starts = sorted([datetime.fromisoformat(run["startedAt"]).timestamp() async for run in nexus.all_runs()])
    nexus.stop()
    await nexus.http.aclose()
    return (count - 1) / (starts[-1] - starts[0])


async def measure() -> Result:
    started = await in_turn()
    p50, p99 = await submit_to_start()
    return Result(
        [
            paired("Jobs started, `python -c pass`", "/s", started["python"], "0.5"),
            paired("Jobs started, `true`", "/s", started["nothing"], "-"),
            Row("from submit to start, p50", p50, "ms"),
            Row("from submit to start, p99", p99, "ms"),
        ],
        f"Jobs: {SLOTS} at a time, from the first start to the last, with all roles in one process; each Job has a process that owns it, "
        "six events and a row. Bare: `asyncio.create_subprocess_exec` of the same command, as many at a time. Next to a command that "
        "does nothing at all, all of that is what is left to see. From submit to start: on a machine that is not full.",
    )


async def in_turn(rounds: int = 3, count: int = 200) -> dict[str, Pair]:
    """By command: Jobs per second of ours and bare, in turn."""
    figures = {name: Pair() for name in COMMANDS}
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        templates(folder / "templates")
        for _ in range(rounds):
            for name, command in COMMANDS.items():
                figures[name].bare.append(await bare(command, count))
                figures[name].ours.append(await ours(folder, name, count))
    return figures


async def submit_to_start(count: int = 100, pause: float = 0.1) -> tuple[float, float]:
    """p50 and p99 in milliseconds, on a machine that is not full."""
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        templates(folder / "templates")
        nexus = NexusProcess(folder / "state", folder / "templates", **UNTHROTTLED)
        await nexus.start()
        for _ in range(count):
            await nexus.submit("python")
            await asyncio.sleep(pause)

        async def all_started() -> bool:
            return not [run async for run in nexus.all_runs() if run["startedAt"] is None]

        await nexus.until(all_started)
        waits = [
            (
                datetime.fromisoformat(run["startedAt"]) - datetime.fromisoformat(run["receivedAt"])
            ).total_seconds()
            * 1000
            async for run in nexus.all_runs()
        ]
        nexus.stop()
        await nexus.http.aclose()
    return quantile(waits, 0.5), quantile(waits, 0.99)
