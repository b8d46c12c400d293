"""The committed OpenAPI document: made from the handlers."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import msgspec

from api.app import ROUTES, create_litestar
from api.openapi import document

__all__ = ["COMMITTED", "current"]

COMMITTED = Path(__file__).parents[2] / "api" / "openapi.json"


def current() -> str:
    """The document of the code as it is."""
    encoded = msgspec.json.encode(
        document(create_litestar(ROUTES, _no_services, _no_health, max_body=1)), order="deterministic"
    )
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


def _no_services() -> NoReturn:
    raise AssertionError("the document is made without serving a request")


def _no_health() -> NoReturn:
    raise AssertionError("the document is made without serving a request")
