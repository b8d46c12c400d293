"""Prose wraps at 120 columns; `make pages` does it."""

from __future__ import annotations

import pytest

from docs.pages import PAGES, PROSE
from docs.pages.prose import WIDTH, wrapped

LONG = " ".join(["word"] * 60)


@pytest.mark.parametrize(
    "page", [*PROSE, *(page for page in PAGES if page.suffix == ".md")], ids=lambda page: page.name
)
def test_a_page_is_wrapped(page):
    text = page.read_text()
    assert wrapped(text) == text, "run `make pages` and commit what it wrote"


@pytest.mark.parametrize("begin", ["", "- ", "12. ", "  - "])
def test_a_long_line_is_wrapped_below_its_beginning(begin):
    lines = wrapped(begin + LONG).splitlines()
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[0].startswith(begin + "word")
    assert all(line.startswith(" " * len(begin) + "word") for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == (begin + LONG).strip()


@pytest.mark.parametrize("kept", [f"| {LONG} |", f"# {LONG}", f"```\n{LONG}\n```", "short\nlines stay"])
def test_what_is_no_long_prose_stays(kept):
    assert wrapped(kept) == kept + "\n"
