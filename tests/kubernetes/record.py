"""Records what list+watch of a real API server shows of scenarios: `python -m tests.kubernetes.record [NAME...]`, or of all.

Takes the server of NEXUS_TEST_KUBECONFIG or of `make services`, and a minute and a half. Writes
`tests/histories/NAME.jsonl`, a line for each step: seconds since the first, its type, and the Job, Pod or Event as it came.
What an object's line has in common with the one before (spec, labels, annotations, owners) is left out, managedFields always.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from infra.services import Kubernetes
from nexus.kubernetes.cluster import KubernetesCluster
from tests.kubernetes.scenarios import SCENARIOS, Scenario
from tests.kubernetes.scene import Scene, scene
from tests.support.kube import Namespace

__all__ = ["FOLDER", "Line", "play", "read"]

FOLDER = Path(__file__).parents[1] / "histories"
_SECONDS = 70.0
"""The longest takes 45: a node that is deleted."""
_SAME = ("labels", "annotations", "ownerReferences")
_WATCHED: dict[Literal["Job", "Pod", "Event"], str] = {
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
}


class Line(msgspec.Struct):
    """One step: `kind` of the object, what happened to it, and the object then."""

    at: float
    kind: Literal["Job", "Pod", "Event"]
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: dict[str, Any]


def read(file: Path) -> Iterator[Line]:
    """The steps of a recording, with what was left out."""
    known: dict[str, dict[str, Any]] = {}
    for text in file.read_bytes().splitlines():
        line = msgspec.json.decode(text, type=Line)
        metadata = line.object["metadata"]
        before = known.get(metadata["uid"])
        if before:
            line.object = {"spec": before.get("spec", {})} | line.object
            line.object["metadata"] = {
                name: value for name, value in before["metadata"].items() if name in _SAME
            } | metadata
        known[metadata["uid"]] = line.object
        yield line


async def play(built: Scene, scenarios: Iterable[Scenario]) -> None:
    """Create the Jobs and do to them what their scenarios say. Returns when all that is done."""
    cluster = KubernetesCluster("real", built.there.connection, built.there.name)
    async with asyncio.TaskGroup() as group:
        for scenario in scenarios:
            await cluster.create(scenario.manifest(built))
            if scenario.act:
                group.create_task(scenario.act(built, scenario.run))


async def _watch(
    there: Namespace, kind: Literal["Job", "Pod", "Event"], lines: list[Line], began: float
) -> None:
    """From before anything is there, until cancelled."""
    at = _WATCHED[kind].format(there.name)
    rest = b""
    async with there.connection.stream(f"{at}?watch=true&resourceVersion=0", _SECONDS * 2) as pieces:
        async for piece in pieces:
            *complete, rest = (rest + piece).split(b"\n")
            for text in complete:
                step = msgspec.json.decode(text)
                step["object"]["metadata"].pop("managedFields", None)
                lines.append(Line(round(time.monotonic() - began, 2), kind, step["type"], step["object"]))


def _of(line: Line, scenario: Scenario) -> bool:
    about = line.object.get("involvedObject", line.object["metadata"])["name"]
    return bool(about == scenario.run or about.startswith(f"{scenario.run}-"))


def _compact(lines: Iterable[Line]) -> Iterator[Line]:
    known: dict[str, dict[str, Any]] = {}
    began: float | None = None
    for line in lines:
        began = line.at if began is None else began
        shown, metadata = dict(line.object), dict(line.object["metadata"])
        before = known.get(metadata["uid"])
        if before:
            if shown.get("spec") == before.get("spec"):
                shown.pop("spec", None)
            for name in _SAME:
                if metadata.get(name) == before["metadata"].get(name):
                    metadata.pop(name, None)
        known[metadata["uid"]] = line.object
        yield Line(round(line.at - began, 2), line.kind, line.type, shown | {"metadata": metadata})


def _write(lines: list[Line], scenarios: Iterable[Scenario]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for scenario in scenarios:
        history = list(_compact(line for line in lines if _of(line, scenario)))
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in history)
        (FOLDER / f"{scenario.name}.jsonl").write_bytes(text)
        print(f"{scenario.name}: {len(history)} steps, {len(text)} bytes")


async def record(kubeconfig: Path, scenarios: Sequence[Scenario]) -> None:
    lines: list[Line] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        async with scene(kubeconfig, Path(scratch)) as built:
            watching = [asyncio.create_task(_watch(built.there, kind, lines, began)) for kind in _WATCHED]
            await play(built, scenarios)
            await asyncio.sleep(max(_SECONDS - (time.monotonic() - began), 0))
            for task in watching:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    _write(lines, scenarios)


if __name__ == "__main__":
    known = {each.name: each for each in SCENARIOS}
    there = Path(os.environ.get("NEXUS_TEST_KUBECONFIG") or Kubernetes().kubeconfig)
    asyncio.run(record(there, [known[name] for name in sys.argv[1:] or known]))
