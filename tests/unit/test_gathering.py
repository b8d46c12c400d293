"""Reads that go together: fewer questions, each asked after its callers called."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nexus.cassandra.gathering import Gathered
from nexus.domain.errors import Unavailable


class Table:
    """Answers when it is let, with what it holds then."""

    def __init__(self) -> None:
        self.rows = {"a": 1, "b": 1}
        self.questions: list[list[str]] = []
        self.answering = asyncio.Event()

    async def read(self, keys: Sequence[str]) -> dict[str, int]:
        self.questions.append(sorted(keys))
        rows = dict(self.rows)
        await self.answering.wait()
        if "bad" in keys:
            raise Unavailable("the table did not answer")
        return {key: rows[key] for key in keys if key in rows}


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_asked_at_the_same_time_is_one_question() -> None:
    table = Table()
    table.answering.set()
    gathered = Gathered(table.read)
    assert await asyncio.gather(*map(gathered.get, ["a", "b", "a", "none"])) == [1, 1, 1, None]
    assert table.questions == [["a", "b", "none"]]


async def test_a_question_on_its_way_is_not_joined() -> None:
    """Its answer may be older than the call."""
    table = Table()
    gathered = Gathered(table.read)
    early = asyncio.create_task(gathered.get("a"))
    await settle()
    table.rows["a"] = 2
    late = asyncio.create_task(gathered.get("a"))
    await settle()
    table.answering.set()
    assert (await early, await late) == (1, 2)


async def test_while_questions_are_on_their_way_the_next_one_grows() -> None:
    table = Table()
    gathered = Gathered(table.read)
    asked = []
    for key in ["a", "b", "c", "d", "e"]:
        asked.append(asyncio.create_task(gathered.get(key)))
        await settle()
    assert table.questions == [["a"], ["b"]]
    table.answering.set()
    await asyncio.gather(*asked)
    assert table.questions == [["a"], ["b"], ["c", "d", "e"]]


async def test_who_no_longer_waits_takes_nothing_from_the_others() -> None:
    table = Table()
    gathered = Gathered(table.read)
    first, second = (asyncio.create_task(gathered.get(key)) for key in ["a", "b"])
    await settle()
    first.cancel()
    table.answering.set()
    assert await second == 1
    assert first.cancelled()


async def test_an_error_is_for_those_who_asked_together() -> None:
    table = Table()
    table.answering.set()
    gathered = Gathered(table.read)
    answers = await asyncio.gather(*map(gathered.get, ["a", "bad"]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert await gathered.get("a") == 1
