"""Plain JSON values from outside, such as manifests: their keys, sizes, numbers and texts are checked before use."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nexus.domain.errors import InvalidInput
from nexus.domain.texts import check_text

__all__ = ["check_plain"]

_DEPTH = 64
_VALUES = 50_000
_CHARACTERS = 1024 * 1024
"""As much as the store of an API server takes for one object."""
_SHOWN = 100
"""Characters of a field's path."""


def check_plain(value: object, field: str) -> None:
    """Raise InvalidInput, with the path of the member, for what JSON, UTF-8 or a process cannot carry, or for too much.

    A value that contains itself is nested too deeply; one that expands from few aliases has too many values.
    """
    characters = values = 0
    waiting = [(value, field, 0)]
    while waiting:
        item, at, depth = waiting.pop()
        values += 1
        if depth > _DEPTH:
            raise InvalidInput(field, f"is nested more than {_DEPTH} levels deep, at {at[:_SHOWN]}")
        if values > _VALUES:
            raise InvalidInput(field, f"has more than {_VALUES} values")
        characters += _check_scalar(item, at)
        for key, below, inner in _members(item, at):
            characters += len(key)
            waiting.append((inner, below, depth + 1))
        if characters > _CHARACTERS:
            raise InvalidInput(field, f"has more than {_CHARACTERS} characters")


def _members(item: object, at: str) -> Iterator[tuple[str, str, object]]:
    """Of an object or an array: each key, path and value."""
    if isinstance(item, dict):
        for key, inner in item.items():
            if not isinstance(key, str):
                raise InvalidInput(
                    at, f"has the key {ascii(key)[:_SHOWN]}, which is no text; write it in quotes"
                )
            check_text(f"{at} (a key)", key)
            yield key, f"{at}.{key}", inner
    elif isinstance(item, list):
        for index, inner in enumerate(item):
            yield "", f"{at}[{index}]", inner


def _check_scalar(item: object, at: str) -> int:
    """The number of its characters."""
    if isinstance(item, str):
        check_text(at, item)
        return len(item)
    if isinstance(item, int) and not -(2**63) <= item < 2**63:
        raise InvalidInput(at, "is a number of more than 64 bits; write it in quotes if a text is meant")
    if isinstance(item, float) and not math.isfinite(item):
        raise InvalidInput(
            at, f"{item} is a number that JSON does not have; write it in quotes if a text is meant"
        )
    if item is not None and not isinstance(item, int | float | dict | list):
        raise InvalidInput(at, f"is a {type(item).__name__}, which JSON does not have; write it in quotes")
    return 0
