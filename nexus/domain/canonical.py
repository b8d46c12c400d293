"""Structs whose encoding follows from what they say: equal ones are written alike, and have equal hashes.

msgspec leaves a member out where it is the very object of its default. A text that was read, or a section that a client
wrote as `{}`, equals the default and is another object; so whatever equals its default is replaced by it.
Members of a dict keep the order in which they were said, which is part of the encoding.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec.structs import force_setattr

__all__ = ["Canonical"]

_SINGLE: tuple[object, ...] = (None, True, False, 0, "", ())
"""Values of which there is but one object."""


class Canonical:
    """The first base of a struct that omits a default of which there may be an equal: a word, a section, an enumeration's."""

    __slots__ = ()

    def __post_init__(self: Any) -> None:
        for name, default in _plural(self.__class__):
            value = getattr(self, name)
            if value is not default and value == default:
                force_setattr(self, name, default)


@cache
def _plural(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """The members whose default may have equals that are other objects."""
    return tuple(
        (field.name, field.default)
        for field in msgspec.structs.fields(kind)
        if field.default is not msgspec.NODEFAULT and not any(field.default is single for single in _SINGLE)
    )
