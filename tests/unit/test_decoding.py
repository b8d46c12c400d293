"""An API server's answers are decoded whatever one object of a list holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nexus.domain.errors import Unavailable
from nexus.kubernetes.decoding import decode

LIST = msgspec.json.Decoder(list[dict[str, Any]])


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + rb'"x\"]["' + b"}" * levels


def test_one_deep_object_hides_no_other() -> None:
    body = b'[{"name":"[{\\""},' + nested(9000) + b',{"name":"b"},' + nested(9000) + b"]"
    first, deep, last, _ = decode(LIST, body, "it")
    assert (first, last) == ({"name": '[{"'}, {"name": "b"})
    assert deep["a"]["a"]["a"]


def test_what_is_usual_is_not_cut() -> None:
    value = decode(LIST, b"[" + nested(150) + b"]", "it")[0]
    for _ in range(150):
        value = value["a"]
    assert value == 'x"]['


def test_another_answer_is_no_answer() -> None:
    with pytest.raises(Unavailable, match="it answered what cannot be read"):
        decode(LIST, b"<html>", "it")
