"""The OpenAPI document says what a caller needs."""

from __future__ import annotations

import msgspec

from api.access.needs import NEEDS
from docs.pages.openapi import COMMITTED


def test_every_operation_says_what_it_is_for_and_how_it_fails():
    document = msgspec.json.decode(COMMITTED.read_bytes())
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            if method == "post":
                assert "requestBody" in operation, (method, path)
                assert "400" in operation["responses"], (method, path)


def test_every_operation_says_what_it_needs_of_who_asks():
    """A path that is not in the table is refused to everybody who has to say who it is."""
    document = msgspec.json.decode(COMMITTED.read_bytes())
    operations = {
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
    }
    assert operations - NEEDS.keys() == set()
