"""The committed files that are made from code are those of the code."""

from __future__ import annotations

import pytest

from docs.pages import PAGES


@pytest.mark.parametrize("path", list(PAGES), ids=lambda path: path.name)
def test_the_committed_file_is_that_of_the_code(path):
    assert path.read_text() == PAGES[path](), "run `make pages` and commit what it wrote"
