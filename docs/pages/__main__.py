"""`python -m docs.pages` writes every committed file that is made from code, and wraps the prose of the others."""

from __future__ import annotations

from docs.pages import PAGES, PROSE
from docs.pages.prose import wrapped

for path, current in PAGES.items():
    path.write_text(current())
for path in PROSE:
    path.write_text(wrapped(path.read_text()))
