"""What a run's `customConfiguration` says in vain: members that the contract ignores (§3.4), or that do not exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from nexus.domain.template import OVERRIDABLE, AlgorithmSpec

__all__ = ["ignored"]

_FIELD = "customConfiguration"
_MOST = 20
_SHOWN = 80


def ignored(configuration: Mapping[str, Any]) -> list[str]:
    """A sentence for each member that has a value and no effect."""
    found = list(_ignored(configuration))
    rest = len(found) - _MOST
    return found if rest <= 0 else [*found[:_MOST], f"{rest} more members of {_FIELD} have no effect."]


def _ignored(configuration: Mapping[str, Any]) -> Iterator[str]:
    for member, value in configuration.items():
        section = _SECTIONS.get(member)
        if section is None:
            yield from _say(member, value, known=member in _MEMBERS)
            continue
        known, taken = section
        for name, inner in value.items() if isinstance(value, Mapping) else ():
            if name not in taken:
                yield from _say(f"{member}.{name}", inner, known=name in known)


def _say(member: str, value: object, *, known: bool) -> Iterator[str]:
    if value is None or value in ("", {}, []):
        return
    shown = f"{_FIELD}.{member[:_SHOWN]}"
    if known:
        yield f"{shown} is ignored: it cannot be changed for a single run, the template's value applies."
    else:
        yield f"{shown} is ignored: there is no such member."


def _names(shape: type[msgspec.Struct]) -> dict[str, str]:
    """The members' names in JSON, by those in Python."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(shape)}


_MEMBERS = set(_names(AlgorithmSpec).values())
_SECTIONS = {
    field.encode_name: (
        set(_names(field.type).values()),
        {_names(field.type)[name] for name in OVERRIDABLE[field.name]},
    )
    for field in msgspec.structs.fields(AlgorithmSpec)
    if field.name in OVERRIDABLE
}
"""Of each section that can be overridden: the members that there are, and those that are taken."""
