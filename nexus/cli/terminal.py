"""The consoles that commands print to. Whatever text reaches them is shown as it is, and nothing of it is obeyed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from nexus.cli.plain import plain

__all__ = ["err", "out", "styled"]

_UNBOUNDED = 500
"""Columns where nobody looks: what is piped into another program is not cut to the width of a screen."""


class _Terminal(Console):
    """No markup and no emoji codes: styles are given as `Text`, never in a string."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Before the layout, so that columns are as wide as what they show."""
        return super().render_str(plain(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The boundary: everything that is printed comes by here, also what was made into a `Text` elsewhere."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


def out() -> Console:
    return _Terminal(width=_width(sys.stdout), highlight=False, markup=False, emoji=False)


def err() -> Console:
    return _Terminal(stderr=True, width=_width(sys.stderr), highlight=False, markup=False, emoji=False)


def styled(text: str, style: str) -> Text:
    return Text(plain(text), style)


def _width(stream: Any) -> int | None:
    return None if stream.isatty() else _UNBOUNDED
