"""What `/readyz` says of each thing that roles need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from nexus.composition import readiness
from nexus.composition.engines import THIS, Engines
from nexus.composition.readiness import Readiness
from nexus.config import Config
from nexus.domain.errors import Unavailable
from nexus.embedded.state import StateFolder
from nexus.ports import Partition
from tests.support.factories import job_created


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncIterator[Engines]:
    """The embedded ones, at a time that goes on with each look."""
    ticks = iter(range(0, 10_000, 10))
    async with AsyncExitStack() as stack:
        folder = StateFolder(tmp_path / "state")
        stack.enter_context(folder.owned())
        yield Engines(Config(), folder, stack, THIS._replace(monotonic=lambda: next(ticks)))


class Broken:
    """A port whose server is away, or hangs."""

    def __init__(self, problem: str, *, hangs: bool = False) -> None:
        self._problem = problem
        self._hangs = hangs

    async def _answer(self, *_: object) -> None:
        if self._hangs:
            await asyncio.Event().wait()
        raise Unavailable(self._problem)

    identity = stored = watermark = append = check = _answer


async def test_a_process_whose_roles_have_what_they_need_has_no_problem(engines: Engines):
    assert await Readiness(engines, ["scheduler", "watcher", "ledger"]).unable() == ([], [])


async def test_readers_wait_for_the_projections(engines: Engines):
    reading = Readiness(engines, ["api", "ledger"])
    [problem] = (await reading.unable()).wholly
    assert problem == "api, ledger cannot read the projections: they have not been read up to the log yet"
    at = THIS.clock()
    await (await engines.store()).advance({Partition("nexus.runs", 0): at})
    assert await reading.unable() == ([], [])


async def test_each_thing_that_is_away_is_named_with_its_roles_and_why(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(readiness, "_TIMEOUT", 2.0)
    clusters = {"near": Broken("refused"), "far": Broken("", hangs=True)}
    for port, broken in (
        ("_clusters", clusters),
        ("_store", Broken("no host")),
        ("_payloads", Broken("no bucket")),
    ):
        monkeypatch.setattr(engines, port, broken)
    assert (await Readiness(engines, ["api", "scheduler"]).unable()).wholly == [
        "api, scheduler cannot read the projections: no host",
        "api cannot reach the payload store: no bucket",
        "scheduler cannot reach the cluster near: refused",
        "scheduler cannot reach the cluster far: no answer within 2 s",
    ]


async def test_one_cluster_of_several_that_is_away_is_named_and_keeps_nobody_from_the_others(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
):
    """A role that is being replaced must not wait for a cluster that is away."""
    here = (await engines.clusters())[engines.config.cluster.name]
    monkeypatch.setattr(engines, "_clusters", {"near": here, "far": Broken("refused")})
    unable = await Readiness(engines, ["scheduler"]).unable()
    assert unable == ([], ["scheduler cannot reach the cluster far: refused"])


async def test_the_log_is_asked_only_where_no_append_has_told(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
):
    journal, log = await engines.journal("watcher"), await engines.log()
    ready = Readiness(engines, ["watcher"])
    monkeypatch.setattr(engines, "_clusters", {})
    monkeypatch.setattr(log, "check", Broken("the disk is full").check)
    await journal.append([job_created()])
    assert await ready.unable() == ([], [])
    [problem] = (await ready.unable()).wholly
    assert problem == "watcher cannot append to the log: the disk is full"
    await journal.append([job_created()])
    assert await ready.unable() == ([], [])
    with monkeypatch.context() as away:
        away.setattr(log, "append", Broken("gone").append)
        with pytest.raises(Unavailable):
            await journal.append([job_created()])
    assert len((await ready.unable()).wholly) == 1
    await journal.append([job_created()])
    assert await ready.unable() == ([], [])


async def test_many_who_ask_at_once_are_one_check(engines: Engines, monkeypatch: pytest.MonkeyPatch):
    asked = []

    async def check() -> None:
        asked.append(1)
        await asyncio.sleep(0)

    monkeypatch.setattr(engines, "machine", THIS._replace(monotonic=lambda: 0.0))
    monkeypatch.setattr(await engines.log(), "check", check)
    ready = Readiness(engines, ["ledger"])
    await asyncio.gather(*(ready.unable() for _ in range(100)))
    assert len(asked) == 1
