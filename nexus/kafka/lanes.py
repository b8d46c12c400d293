"""What waits to be appended: one lane for each partition, and a call of `append` across several of them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from nexus.domain.errors import NexusError
from nexus.domain.topics import NewRecord
from nexus.kafka.library import Batch
from nexus.ports import Position

__all__ = ["Append", "Lane", "Waiting"]


class Append:
    """One call of `append`, answered when each of its records has a position."""

    __slots__ = ("_missing", "_positions", "answer", "deadline", "handed_over")

    def __init__(self, answer: asyncio.Future[list[Position]], records: int, deadline: float) -> None:
        self.answer = answer
        self.deadline = deadline
        self.handed_over = 0
        """How many of its records the brokers may have: while it is none, nothing has happened."""
        self._positions: list[Position] = [_NOWHERE] * records
        self._missing = records

    def place(self, nth: int, position: Position) -> None:
        self._positions[nth] = position
        self._missing -= 1
        if not self._missing and not self.answer.done():
            self.answer.set_result(self._positions)

    def fail(self, problem: NexusError) -> None:
        if not self.answer.done():
            self.answer.set_exception(problem)


_NOWHERE = Position("", -1, -1)


class Waiting(NamedTuple):
    append: Append
    nth: int
    record: NewRecord


class Lane:
    """The records for one partition, in order. One batch travels at a time, so that none can overtake another."""

    __slots__ = ("busy", "number", "topic", "travelling", "waiting")

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self.number = number
        self.waiting: deque[Waiting] = deque()
        self.travelling: list[Waiting] = []
        self.busy = False
        """Somebody sees to it that what waits is sent."""

    def load(self, batch: Batch) -> bool:
        """Move what waits into the batch, as much as fits; False when nothing waits. Those given up are left out."""
        waiting, travelling = self.waiting, self.travelling
        while waiting:
            append, _, record = waiting[0]
            if not append.answer.done():
                headers = [(name, text.encode()) for name, text in record.headers.items()]
                if not batch.append(
                    timestamp=None, key=record.key.encode(), value=record.value, headers=headers
                ):
                    break
                append.handed_over += 1
                travelling.append(waiting[0])
            waiting.popleft()
        return bool(travelling)

    def unload(self) -> None:
        """Take back a batch that was not handed over after all."""
        for item in self.travelling:
            item.append.handed_over -= 1
        self.waiting.extendleft(reversed(self.travelling))
        self.travelling = []

    def arrived(self) -> list[Waiting]:
        """What travelled, be it to its end or not."""
        travelling, self.travelling = self.travelling, []
        return travelling
