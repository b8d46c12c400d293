"""The committed OpenAPI document is the one that the code serves."""

from __future__ import annotations

import msgspec

from api.openapi_file import COMMITTED, current


def test_the_committed_document_is_current():
    assert COMMITTED.read_text() == current(), "run `make openapi` and commit api/openapi.json"


def test_every_operation_says_what_it_is_for_and_how_it_fails():
    document = msgspec.json.decode(COMMITTED.read_bytes())
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            if method == "post":
                assert "requestBody" in operation, (method, path)
                assert "400" in operation["responses"], (method, path)
