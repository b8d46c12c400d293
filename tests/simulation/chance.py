"""Everything that is left to chance in a simulation, from one seed."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Chance"]

T = TypeVar("T")


class Chance:
    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)
        self.unit = self._random.random
        """A number between 0 and 1."""

    def below(self, end: int) -> int:
        return int(self.unit() * end)

    def between(self, least: float, most: float) -> float:
        return least + (most - least) * self.unit()

    def one_in(self, many: float) -> bool:
        return self.unit() * many < 1

    def of(self, things: Sequence[T]) -> T:
        return things[self.below(len(things))]

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)

    def child(self, name: str) -> Chance:
        """A chance of its own, so that what one part draws does not move another's."""
        return Chance(f"{name}/{self._random.getrandbits(64)}")
