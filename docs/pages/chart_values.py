"""What the comments in the chart's values say: each value with its meaning, its types and its default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

__all__ = ["CHART", "Value", "values"]

CHART = Path(__file__).parents[2] / "infra/helm/nexus"

_TYPES = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object"}


class Value(NamedTuple):
    path: tuple[str, ...]
    meaning: str
    default: Any
    types: tuple[str, ...]
    choices: tuple[str, ...]
    """Empty: any of the types."""
    configuration: bool
    """Whether it is the tree of `nexus/config/sections.py`."""
    inside: tuple[Value, ...]
    """Of a section; none where anything may stand."""

    @property
    def name(self) -> str:
        return ".".join(self.path)


def values() -> tuple[Value, ...]:
    """In the order of the file. A comment is about the value below it; `@type` and `@one-of` say what it may be."""
    text = (CHART / "values.yaml").read_text()
    document = yaml.compose(text)
    assert isinstance(document, yaml.MappingNode)
    return tuple(_read(document, text.splitlines(), ()))


def _read(mapping: yaml.MappingNode, lines: list[str], above: tuple[str, ...]) -> Iterator[Value]:
    for key, node in mapping.value:
        default = yaml.safe_load(yaml.serialize(node))
        comment = _comment(lines, key.start_mark.line)
        notes = {line.partition(" ")[0]: line.split()[1:] for line in comment if line.startswith("@")}
        path = (*above, key.value)
        in_rows = isinstance(node, yaml.MappingNode) and not node.flow_style
        inside = tuple(_read(node, lines, path)) if in_rows and "@configuration" not in notes else ()
        yield Value(
            path,
            " ".join(line for line in comment if not line.startswith("@")),
            default,
            tuple(notes.get("@type", [_TYPES.get(type(default), "")])),
            tuple(notes.get("@one-of", ())),
            "@configuration" in notes,
            inside,
        )


def _comment(lines: list[str], line: int) -> list[str]:
    found: list[str] = []
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().lstrip("#").strip())
    return found
