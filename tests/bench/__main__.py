"""`make bench`: measures, and writes docs/benchmarks.md. `python -m tests.bench kept real.jobs` measures only these."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack

from rich.console import Console

from infra.services import ServiceError
from tests.bench.embedded import accepts, jobs, queue, rebuild, tenants
from tests.bench.real import accepts as real_accepts
from tests.bench.real import completions, kept, memory, sync
from tests.bench.real import jobs as real_jobs
from tests.bench.real import rebuild as real_rebuild
from tests.bench.real.servers import BenchServers, running
from tests.bench.report import Result, keep

console = Console()

EMBEDDED: dict[str, Callable[[], Awaitable[Result]]] = {
    "embedded.accepts": accepts.measure,
    "embedded.jobs": jobs.measure,
    "embedded.rebuild": rebuild.measure,
    "embedded.completions": queue.completions,
    "embedded.capability": queue.proved,
    "embedded.memory": queue.memory,
    "embedded.tenants": tenants.measure,
}
REAL: dict[str, Callable[[BenchServers], Awaitable[Result]]] = {
    "real.accepts": real_accepts.measure,
    "real.kept": kept.measure,
    "real.capability": completions.measure,
    "real.jobs": real_jobs.measure,
    "real.rebuild": real_rebuild.measure,
    "real.memory": memory.measure,
    "real.sync": sync.measure,
}


def selected(names: Sequence[str]) -> list[str]:
    """Whole names, or either half of them: `real`, `accepts`, `real.accepts`."""
    known = [*EMBEDDED, *REAL]
    chosen = [each for each in known if not names or set(names) & {each, *each.split(".")}]
    for name in names:
        if not any(name in {each, *each.split(".")} for each in known):
            raise SystemExit(f"there is no benchmark {name}: there are {', '.join(known)}")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join([*EMBEDDED, *REAL]))
    names = selected(parser.parse_args().names)
    with ExitStack() as stack:
        servers = None
        if set(names) & REAL.keys():
            console.print("servers ...")
            try:
                servers = stack.enter_context(running())
            except ServiceError as error:
                raise SystemExit(f"the real engines cannot be measured: {error}") from None
        for name in names:
            started = time.monotonic()
            console.print(f"{name} ...", end=" ")
            result = asyncio.run(EMBEDDED[name]() if name in EMBEDDED else REAL[name](servers))
            keep(name, result)
            console.print(f"{time.monotonic() - started:.0f} s")
            for row in result.rows:
                ratio = "" if row.ratio is None else f", {row.ratio:.2f} of the bare loop's"
                console.print(f"    {row.what}: {row.ours:,.0f} {row.unit}{ratio}", markup=False)


if __name__ == "__main__":
    main()
