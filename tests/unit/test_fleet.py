"""Clusters that come, go and change while a process serves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nexus.composition.fleet import Fleet, Opened
from nexus.composition.tasks import tasks
from nexus.domain.errors import ConfigError


class Folder:
    """What is configured: the address of each cluster, by name."""

    def __init__(self, **found: str) -> None:
        self.found = found
        self.problems: list[str] = []

    def __call__(self) -> tuple[dict[str, str], list[str]]:
        if self.found is None:
            raise ConfigError("the folder is away")
        return dict(self.found), self.problems


class Served:
    """What serves each cluster, with a line for every start and end."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failing: set[str] = set()

    async def __call__(self, cluster: list[str]) -> None:
        [address] = cluster
        self.lines.append(f"{address} begins")
        try:
            if address in self.failing:
                raise ValueError(address)
            await asyncio.Event().wait()
        finally:
            self.lines.append(f"{address} ends")

    def taken(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


@asynccontextmanager
async def serving(fleet: Fleet[str], served: Served, *only: str) -> AsyncIterator[list[BaseException]]:
    failed: list[BaseException] = []
    clusters = Opened(fleet, lambda _, address: [address], lambda name: not only or name in only)
    async with tasks(failed.append) as spawn:
        spawn(fleet.serve(clusters, served, spawn))
        await settled()
        yield failed


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_cluster_is_served_from_when_it_comes_until_it_goes() -> None:
    folder, served = Folder(eu="a"), Served()
    fleet = Fleet(folder.found, folder)
    async with serving(fleet, served):
        assert served.taken() == ["a begins"]
        folder.found = {"eu": "a", "us": "b"}
        fleet.look()
        await settled()
        assert served.taken() == ["b begins"]
        folder.found = {"us": "b"}
        fleet.look()
        await settled()
        assert served.taken() == ["a ends"]
        folder.found = {"eu": "a", "us": "b"}
        fleet.look()
        await settled()
        assert served.taken() == ["a begins"]
    assert sorted(served.taken()) == ["a ends", "b ends"]


async def test_one_that_is_another_under_the_same_name_is_served_anew() -> None:
    folder, served = Folder(eu="a"), Served()
    fleet = Fleet(folder.found, folder)
    async with serving(fleet, served):
        folder.found = {"eu": "c"}
        fleet.look()
        await settled()
        assert served.taken() == ["a begins", "a ends", "c begins"]


async def test_a_process_serves_those_that_it_is_told() -> None:
    folder, served = Folder(eu="a", us="b"), Served()
    fleet = Fleet(folder.found, folder)
    async with serving(fleet, served, "us"):
        assert served.taken() == ["b begins"]
    assert list(fleet.found) == ["eu", "us"]


async def test_all_stays_while_nobody_can_tell_what_there_is() -> None:
    folder, served = Folder(eu="a"), Served()
    fleet = Fleet(folder.found, folder)
    async with serving(fleet, served):
        folder.found = None  # type: ignore[assignment]
        fleet.look()
        await settled()
        assert (list(fleet.found), fleet.problems) == (["eu"], ["the folder is away"])
        assert served.taken() == ["a begins"]
        folder.found = {"eu": "a"}
        fleet.look()
        assert fleet.problems == []


async def test_what_is_wrong_with_one_is_told_and_holds_up_no_other() -> None:
    folder = Folder(eu="a")
    fleet = Fleet(folder.found, folder)
    folder.found, folder.problems = {"eu": "a", "us": "b"}, ["us is there twice"]
    fleet.look()
    assert (list(fleet.found), fleet.problems) == (["eu", "us"], ["us is there twice"])


async def test_who_fails_is_not_passed_over() -> None:
    folder, served = Folder(eu="a"), Served()
    served.failing = {"a"}
    async with serving(Fleet(folder.found, folder), served) as failed:
        assert [str(error) for error in failed] == ["a"]


async def test_what_was_opened_of_a_cluster_is_that_of_its_address() -> None:
    folder = Folder(eu="a")
    fleet = Fleet(folder.found, folder)
    opened = Opened(fleet, lambda name, address: [name, address])
    first = opened["eu"]
    assert first is opened["eu"] == ["eu", "a"]
    folder.found = {}
    fleet.look()
    assert dict(opened) == {}
    with pytest.raises(KeyError):
        opened["eu"]
    folder.found = {"eu": "a"}
    fleet.look()
    assert opened["eu"] is first
    folder.found = {"eu": "b"}
    fleet.look()
    assert opened["eu"] == ["eu", "b"]
