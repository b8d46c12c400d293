"""`python -m docs.pages` writes every committed file that is made from code."""

from __future__ import annotations

from docs.pages import PAGES

for path, current in PAGES.items():
    path.write_text(current())
