"""The committed files that are made from code. A test fails where one of them is out of date."""

from __future__ import annotations

from docs.pages import coming_from_go, configuration, diagnosis, openapi

__all__ = ["PAGES"]

PAGES = {page.COMMITTED: page.current for page in (coming_from_go, configuration, diagnosis, openapi)}
"""What writes each file."""
