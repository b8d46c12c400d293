"""The whole of Nexus in two minutes: starts it, submits the examples, follows them, shows results and one history.

State is kept in a temporary folder, which goes when the demo ends; `nexus dev` keeps its own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nexus.client import Client, RunView
from nexus.domain.errors import Unavailable
from nexus.domain.run import Stage
from nexus.ports import RunFilter

EXAMPLES = Path(__file__).parent
TAG = "demo"
DIGITS = ("rbf", "linear", "poly", "few")

console = Console()


def submissions() -> Iterator[tuple[str, bytes]]:
    """Twenty runs that do real work, then one for each way to fail."""
    for number in range(20):
        if number % 2:
            yield "tsp", (EXAMPLES / "tsp" / "berlin52.json").read_bytes()
        else:
            yield "digits", (EXAMPLES / "digits" / f"{DIGITS[number // 2 % len(DIGITS)]}.json").read_bytes()
    for payload in sorted((EXAMPLES / "failures" / "payloads").glob("*.json")):
        yield "failures", payload.read_bytes()
    yield "missing-command", b"{}"


@contextmanager
def nexus(folder: Path, port: int) -> Iterator[Client]:
    """`nexus dev`, ready to take runs; it ends with the demo."""
    results = folder / "results"
    environment = os.environ | {"NEXUS__RESULT__OUTPUT_PATH": str(results), "NEXUS__LOGGING__LEVEL": "error"}
    command = [sys.executable, "-m", "nexus", "dev", "--templates", str(EXAMPLES)]
    flags = ["--state", str(folder / "state"), "--port", str(port)]
    said = folder / "nexus.err"
    with said.open("wb") as errors:
        process = subprocess.Popen(
            [*command, *flags], env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            await_ready(client, process, said)
            yield client
    finally:
        process.terminate()
        process.wait()


def await_ready(client: Client, process: subprocess.Popen[bytes], said: Path) -> None:
    while process.poll() is None:
        try:
            client.runs(RunFilter(), 1)
        except Unavailable:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"nexus dev did not start: {said.read_text()}")


def progress(runs: list[RunView]) -> Table:
    states = ("queued", "placed", "running", "ended")
    table = Table("algorithm", *states, title="Runs by state")
    for algorithm in sorted({run.algorithm for run in runs}):
        here = [run for run in runs if run.algorithm == algorithm]
        table.add_row(algorithm, *(str(sum(run.state == state for run in here)) for state in states))
    return table


def follow(client: Client, count: int) -> list[RunView]:
    with Live(console=console, refresh_per_second=4) as live:
        while True:
            runs = client.runs(RunFilter(tag=TAG), count)
            live.update(progress(runs))
            if len(runs) == count and all(run.state == "ended" for run in runs):
                return sorted(runs, key=lambda run: run.request_id)
            time.sleep(0.25)


def outcome(run: RunView) -> str:
    """What came of a run: what its result says, or why there is none."""
    if run.diagnosis:
        return run.diagnosis.cause
    if not run.result_uri.startswith("file://"):
        return run.result_uri
    result = json.loads(Path(run.result_uri.removeprefix("file://")).read_text())
    if run.algorithm == "tsp":
        return f"a round trip of {result['length']}, the optimum is {result['optimum']}"
    return f"accuracy {result['accuracy']:.3f}"


def show_results(runs: list[RunView]) -> None:
    table = Table("algorithm", "stage", "outcome", title="Results")
    for run in runs:
        table.add_row(run.algorithm, run.stage, outcome(run))
    console.print(table)


def show_history(client: Client, run: RunView) -> None:
    console.print(f"The history of {run.algorithm} {run.request_id}:")
    table = Table("time", "event")
    for event in client.events(run.request_id):
        table.add_row(f"{event.time:%H:%M:%S.%f}", event.type)
    console.print(table)


def check(runs: list[RunView]) -> None:
    """The demo fails where Nexus did: work that did not complete, or a failure without a reason."""
    for run in runs:
        works = run.algorithm in {"tsp", "digits"}
        if works and run.stage is not Stage.COMPLETED:
            sys.exit(f"{run.algorithm} {run.request_id} ended {run.stage}: {run.diagnosis}")
        if run.stage is not Stage.COMPLETED and not (run.diagnosis and run.diagnosis.cause):
            sys.exit(f"{run.algorithm} {run.request_id} ended {run.stage} without a reason")


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="nexus-demo-") as folder, nexus(Path(folder), port) as client:
        console.print(f"Nexus listens on http://127.0.0.1:{port} (its API is described at /docs)")
        wanted = list(submissions())
        for algorithm, payload in wanted:
            client.submit(algorithm, payload, tag=TAG)
        runs = follow(client, len(wanted))
        show_results(runs)
        show_history(client, next(run for run in runs if run.algorithm == "tsp"))
        check(runs)
    console.print(
        "Next: [bold].venv/bin/nexus dev[/], then [bold].venv/bin/nexus run tsp --payload examples/tsp/berlin52.json[/]"
    )


if __name__ == "__main__":
    main()
