"""The rules of all sources as one list, made anew when one of them has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nexus.domain.access import EVERYTHING, Rule, Rules

__all__ = ["Rulebook"]


class Rulebook:
    """`sources` each answer their rules of the moment, the same object until they change. Without one everything is allowed."""

    def __init__(self, sources: Sequence[Callable[[], Sequence[Rule]]]) -> None:
        self._sources = sources
        self._found: list[Sequence[Rule]] | None = None
        self._rules = EVERYTHING

    def __call__(self) -> Rules:
        if not self._sources:
            return EVERYTHING
        found = [source() for source in self._sources]
        if self._found is None or any(new is not old for new, old in zip(found, self._found, strict=True)):
            self._found, self._rules = found, Rules(rule for rules in found for rule in rules)
        return self._rules
