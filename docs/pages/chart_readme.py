"""The README of the chart: made from the comments in its values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from docs.pages.chart_values import CHART, Value, values

__all__ = ["COMMITTED", "current"]

COMMITTED = CHART / "README.md"

_HEAD = """\
# The chart `nexus`

Written by `make pages` from the comments in [`values.yaml`](values.yaml). [How to install](../../../docs/installation.md); the custom resources are a
chart of their own, [`nexus-crd`](../nexus-crd), which is installed first.

| value | default | meaning |
|---|---|---|"""


def current() -> str:
    """The page by the values as they are."""
    return "\n".join([_HEAD, *_rows(values()), ""])


def _rows(some: Iterable[Value]) -> Iterator[str]:
    for value in some:
        default = "" if value.inside else f"`{json.dumps(value.default)}`"
        choices = f"One of {', '.join(f'`{choice}`' for choice in value.choices)}." if value.choices else ""
        meaning = " ".join(text for text in (value.meaning, choices) if text)
        yield f"| `{value.name}` | {default} | {meaning} |"
        yield from _rows(value.inside)
