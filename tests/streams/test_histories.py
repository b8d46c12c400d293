"""The recordings of `tests/histories` through the real watcher, supervisor and reconciler: stage, category and cause of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from nexus.domain.events import DeletionPolicy, TerminalFact
from nexus.domain.job import ALGORITHM
from nexus.domain.observed import JobView, PodView
from nexus.domain.run import Stage
from nexus.domain.topics import OBSERVATIONS, RUNS
from nexus.ports import Change, Cluster, Created, Listed
from tests.kubernetes.record import FOLDER, Line, read
from tests.kubernetes.scenarios import SCENARIOS, Scenario
from tests.streams.conftest import Installation
from tests.support.factories import job_created, job_view

NAME = "standalone"
IDENTITY = "recorded"
LAST = job_view("last", labels={ALGORITHM: "another"})
"""Shown after a recording: what was seen of it is on its topic once this is."""


class Recorded(Cluster):
    """A cluster that shows what was recorded, step by step, and then is as it was at the end."""

    name = NAME
    uid = IDENTITY

    def __init__(self, lines: Sequence[Line], *, at_once: bool) -> None:
        self._lines = lines
        self._at_once = at_once
        self._jobs: dict[str, JobView] = {}
        self._pods: dict[str, PodView] = {}
        self._said: list[str] = []

    async def identity(self) -> str:
        return IDENTITY

    async def create(self, job: Mapping[str, Any]) -> Created:
        raise NotImplementedError

    async def get(self, name: str) -> JobView | None:
        return self._jobs.get(name)

    async def pods(self, job: str) -> Sequence[PodView]:
        return list(self._pods.values())

    async def delete(self, name: str, uid: str, policy: DeletionPolicy) -> bool:
        raise NotImplementedError

    async def log_tail(self, pod: str, limit: int) -> str:
        return "the last words"

    async def events(self, job: str) -> Sequence[str]:
        return self._said

    async def watch(self) -> AsyncGenerator[Listed | Change]:
        yield Listed((), ())
        for line in self._lines:
            if line.kind == "Event":
                self._said.append(f"{line.object['reason']}: {line.object['message']}")
                continue
            thing = msgspec.convert(line.object, JobView if line.kind == "Job" else PodView)
            there: dict[str, Any] = self._jobs if line.kind == "Job" else self._pods
            there[thing.metadata.name] = thing
            if line.type == "DELETED":
                del there[thing.metadata.name]
            yield Change(line.type, thing)
            if not self._at_once:
                await asyncio.sleep(0.002)
        yield Change("ADDED", LAST)
        await asyncio.Event().wait()


async def replayed(nexus: Installation, scenario: Scenario, *, at_once: bool) -> None:
    """The run of the recording is placed, and everything that was recorded was seen and judged."""
    lines = list(read(FOLDER / f"{scenario.name}.jsonl"))
    uid = next(line.object["metadata"]["uid"] for line in lines if line.kind == "Job")
    nexus.cluster = Recorded(lines, at_once=at_once)
    nexus.clusters[NAME] = nexus.cluster
    nexus.start_ledger()
    request = scenario.request()
    created = job_created(
        request_id=scenario.run, at=nexus.clock(), job_uid=uid, cluster=NAME, cluster_id=IDENTITY
    )
    await nexus.say(request)
    await nexus.reaches(scenario.run, lambda run: True)
    await nexus.say(created)
    await nexus.reaches(scenario.run, lambda run: run.job_uid)
    nexus.start_watcher()
    nexus.start_supervisor()

    async def all_seen() -> bool:
        return any(seen.request_id == LAST.metadata.name for seen in await nexus.said(OBSERVATIONS))

    await nexus.until(all_seen)
    await nexus.consumed("supervisor", OBSERVATIONS)
    await nexus.caught_up()


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "step by step"])
@pytest.mark.parametrize(
    "scenario", [each for each in SCENARIOS if not each.hangs], ids=lambda each: each.name
)
async def test_a_job_that_ends(installation, scenario, at_once):
    await replayed(installation, scenario, at_once=at_once)
    if scenario.ends is None:
        await look(installation, 3600)
        row = await installation.store.get(scenario.run)
        assert (row.stage, row.stalled) == (Stage.RUNNING, None)
        return
    row = await installation.reaches(scenario.run, lambda run: run.ended)
    judged(row, scenario)
    said = await installation.said(RUNS, scenario.run)
    assert len([event for event in said if isinstance(event, TerminalFact)]) == 1


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.hangs], ids=lambda each: each.name)
async def test_a_job_that_hangs(installation, scenario):
    await replayed(installation, scenario, at_once=True)
    await look(installation, 60)
    row = await installation.store.get(scenario.run)
    assert (row.stage, row.stalled and row.stalled.category) == (Stage.RUNNING, scenario.hangs)
    await look(installation, 60)
    judged(await installation.store.get(scenario.run), scenario)


async def look(nexus: Installation, seconds: float) -> None:
    """The reconciler, that long after."""
    nexus.clock.advance(seconds)
    await nexus.caught_up()
    await nexus.reconciler().reconcile()
    await nexus.caught_up()


def judged(row: Any, scenario: Scenario) -> None:
    assert scenario.ends
    assert (row.stage, row.diagnosis.category) == scenario.ends
    assert row.diagnosis.cause == scenario.cause
    assert scenario.details in row.diagnosis.details
    assert scenario.hint in row.diagnosis.hint


def test_there_is_a_recording_of_each_scenario():
    assert {file.stem for file in FOLDER.glob("*.jsonl")} == {each.name for each in SCENARIOS}
