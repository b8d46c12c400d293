"""The committed files that are made from code. A test fails where one of them is out of date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.pages import (
    chart_crds,
    chart_readme,
    chart_schema,
    coming_from_go,
    configuration,
    diagnosis,
    openapi,
)
from docs.pages.prose import wrapped

__all__ = ["PAGES", "PROSE"]

_ROOT = Path(__file__).parents[2]
_OTHERS = {"CHANGELOG.md"}


def _of(path: Path, current: Callable[[], str]) -> Callable[[], str]:
    return (lambda: wrapped(current())) if path.suffix == ".md" else current


_ONE_EACH = (chart_readme, chart_schema, coming_from_go, configuration, diagnosis, openapi)

PAGES = {page.COMMITTED: _of(page.COMMITTED, page.current) for page in _ONE_EACH} | chart_crds.COMMITTED
"""What writes each file."""

PROSE = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md")
    for path in _ROOT.glob(pattern)
    if path not in PAGES and path.name not in _OTHERS
)
"""The pages that people write."""
