"""The page about the configuration: made from the structs of `nexus/config/sections.py` and the docstrings under their keys."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from nexus.config import Config, Secret, Size, Span, SpanOrNever, renamed, shown
from nexus.config import sections as declared_sections

__all__ = ["COMMITTED", "Key", "Section", "current", "sections"]

COMMITTED = Path(__file__).parents[1] / "configuration.md"

_HEAD = """\
# Configuration

Written by `make pages` from [`nexus/config/sections.py`](../nexus/config/sections.py): change the docstrings there.

Each key has three sources. A later one wins:

1. the YAML file that `--config` names: `http: {port: 9000}`;
2. the environment: `NEXUS__HTTP__PORT=9000`;
3. flags of the command: `--port 9000`.

`nexus config` prints what is in effect, secrets hidden. The whole is checked before anything starts: an error names the key and its
source. An unknown key in a section of Nexus is an error. Other sections belong to algorithms, and are ignored.

A **duration** is written as in Go: `90s`, `1m30s`, `24h`. A **size** is a number of bytes, or a Kubernetes quantity: `64Ki`, `500Mi`.
"""

_NAMES = {bool: "`true` or `false`", float: "number", int: "integer", str: "text", Path: "path"}


class Key(NamedTuple):
    name: str
    """With its section: `http.port`."""
    kind: str
    default: str
    doc: str
    """Empty where there is none, which a test refuses."""


class Section(NamedTuple):
    name: str
    doc: str
    keys: list[Key]


def current() -> str:
    """The page by the structs as they are."""
    return "\n".join(
        [_HEAD, *(line for section in sections() for line in _written(section)), *_former_names()]
    )


def sections() -> list[Section]:
    """Every section of the tree, with its keys in the order of their declaration."""
    classes = {
        node.name: node
        for node in ast.parse(inspect.getsource(declared_sections)).body
        if isinstance(node, ast.ClassDef)
    }
    defaults = shown(Config())
    return [
        Section(
            section.name,
            inspect.cleandoc(section.type.__dict__.get("__doc__") or ""),
            [
                Key(
                    f"{section.name}.{key.name}",
                    _kind(key.type),
                    _default(defaults[section.name][key.name], key.type),
                    docs.get(key.name, ""),
                )
                for docs in [_docstrings(classes[section.type.__name__])]
                for key in msgspec.structs.fields(section.type)
            ],
        )
        for section in msgspec.structs.fields(Config)
    ]


def _docstrings(declared: ast.ClassDef) -> dict[str, str]:
    """What is written under each key."""
    found = {}
    for key, below in zip(declared.body, declared.body[1:], strict=False):
        if (
            isinstance(key, ast.AnnAssign)
            and isinstance(key.target, ast.Name)
            and isinstance(below, ast.Expr)
        ):
            match below.value:
                case ast.Constant(value=str(text)):
                    found[key.target.id] = " ".join(text.split())
    return found


def _written(section: Section) -> Iterator[str]:
    yield f"## {section.name}\n\n{section.doc}\n"
    yield "| key, variable | type | default | meaning |"
    yield "|---|---|---|---|"
    for key in section.keys:
        variable = f"NEXUS__{key.name.replace('.', '__').upper()}"
        yield f"| `{key.name}`<br>`{variable}` | {key.kind} | {key.default} | {key.doc} |"
    yield ""


def _former_names() -> Iterator[str]:
    yield "## Former names\n\nThese still work, as keys and as variables. Where a source has both, the present name wins.\n"
    yield "| former | present |\n|---|---|"
    for former, present in renamed().items():
        yield f"| `{former}` | {', '.join(f'`{name}`' for name in present) or 'nothing: it is of no use any more'} |"
    yield ""


def _kind(declared: Any) -> str:
    if get_origin(declared) is Annotated:
        kind, bounds = get_args(declared)
        return _kind(kind) + _bounds(bounds)
    if get_origin(declared) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(declared))
    if get_origin(declared) is UnionType:
        return _kind(next(kind for kind in get_args(declared) if kind is not type(None)))
    if declared is SpanOrNever:
        return "duration or `never`"
    for kind, name in ((Secret, "secret"), (Span, "duration"), (Size, "size")):
        if issubclass(declared, kind):
            return name
    return _NAMES[declared]


def _bounds(meta: msgspec.Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f", {meta.ge} to {meta.le}"
    if meta.ge is not None:
        return f", at least {meta.ge}"
    return f", more than {meta.gt}" if meta.gt is not None else ""


def _default(value: Any, kind: Any) -> str:
    if value in {"", None, "None"}:
        return ""
    if kind is Size:
        return f"`{_quantity(int(value))}`"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _quantity(size: int) -> str:
    for unit, factor in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
