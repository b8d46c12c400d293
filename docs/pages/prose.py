"""Wraps the prose of a Markdown page at 120 columns; tables, headings and code stay as they are."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

__all__ = ["WIDTH", "wrapped"]

WIDTH = 120

_ITEM = re.compile(r"\s*(?:[-*+]|\d+\.) ")
_AS_IT_IS = ("|", "#", "<!--", ">", "---")


def wrapped(page: str) -> str:
    """The page with each paragraph and list item wrapped that has a line which is too long."""
    return "\n".join(line for block in _blocks(page.splitlines()) for line in block) + "\n"


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Paragraphs and list items, wrapped; what is no prose comes line by line."""
    block: list[str] = []
    code = False
    for line in lines:
        fence = line.lstrip().startswith("```")
        prose = not (code or fence or not line.strip() or line.startswith(_AS_IT_IS))
        code ^= fence
        if block and (not prose or _ITEM.match(line)):
            yield _wrap(block)
            block = []
        if prose:
            block.append(line)
        else:
            yield [line]
    if block:
        yield _wrap(block)


def _wrap(block: list[str]) -> list[str]:
    if all(len(line) <= WIDTH for line in block):
        return block
    item = _ITEM.match(block[0])
    first = item[0] if item else ""
    text = " ".join(line.strip() for line in block)[len(first.lstrip()) :]
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
