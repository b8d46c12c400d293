"""`make bench`: measures everything and writes docs/benchmarks.md."""

from __future__ import annotations

import asyncio
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console

from tests.bench import accepts, jobs, queue, rebuild
from tests.bench.figures import Pair

REPORT = Path("docs/benchmarks.md")
console = Console()

HEAD = """# Benchmarks

Written by `make bench`. Rates are of one small machine and of one moment; what carries over is the ratio to a bare engine that does
the same I/O in the same run. Both sides run in turn, several times; rates are medians, ratios are medians of the rounds' ratios.

"""

TABLE = """| what | ours | bare | ratio | expected |
|---|---|---|---|---|
"""


def row(what: str, unit: str, figures: Pair, expected: str) -> str:
    return f"| {what} | {figures.rate:,.0f} {unit} | {figures.bare_rate:,.0f} {unit} | {figures.ratio:.2f} | {expected} |\n"


async def main() -> None:
    console.print("accepts ...")
    accepted, load = await accepts.measure()
    console.print("jobs ...")
    started = await jobs.measure()
    p50, p99 = await jobs.submit_to_start()
    console.print("rebuild ...")
    rebuilt = await rebuild.measure()
    console.print("completions ...")
    completed = await queue.completions()
    console.print("memory ...")
    sizes = await queue.memory()

    text = HEAD
    text += f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, "
    text += f"{psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}, "
    text += ", ".join(f"{name} {version(name)}" for name in ("litestar", "granian", "msgspec")) + ".\n\n"
    text += TABLE
    text += row("durable accepts, the API alone", "/s", accepted, "0.6")
    text += row("Jobs started, `python -c pass`", "/s", started["python"], "0.5")
    text += row("Jobs started, `true`", "/s", started["nothing"], "-")
    text += row("rebuild", "events/s", rebuilt, "0.5")
    text += f"""
- Accepts: {accepts.CONNECTIONS} connections, p50 {load.quantile(0.5):.0f} ms, p99 {load.quantile(0.99):.0f} ms. Bare: a Litestar route on
  granian that decodes the body and puts a row of the same size into the same group commit.
- Jobs: {jobs.SLOTS} at a time, from the first start to the last, with all roles in one process; each Job has a process that owns it, six events
  and a row. Bare: `asyncio.create_subprocess_exec` of the same command, as many at a time. Next to a command that does nothing at all, all
  of that is what is left to see.
- Rebuild: requests and facts folded into rows and histories. Bare: the same records read, decoded and written as rows.
- From submit to start, on a machine that is not full: p50 {p50:.0f} ms, p99 {p99:.0f} ms.
- Completions: {completed.accepted:,.0f}/s answered, {completed.projected:,.0f}/s projected, with all roles in one process.
- Memory of `nexus dev`, all roles: {", ".join(f"{size:.0f} MiB with {count:,} runs queued" for count, size in sizes.items())}.
"""
    REPORT.write_text(text)
    console.print(text, markup=False)


if __name__ == "__main__":
    asyncio.run(main())
