"""Answers of an API server decoded, however deeply nested, and an answer that is none told from one."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from nexus.domain.errors import Unavailable

__all__ = ["decode"]

T = TypeVar("T")

_KEPT = 200
"""Levels of nesting: more than anything that is used has, and fewer than a decoder can take."""
_LEXEME = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, where: str) -> T:
    """What is nested too deeply to be decoded is cut to null. Raises Unavailable for what is no such object at all.

    One object that somebody nested thousands of levels deep must not hide all others of its list.
    """
    try:
        try:
            return decoder.decode(body)
        except RecursionError:
            return decoder.decode(_shallow(bytes(body)))
    except msgspec.MsgspecError as error:
        raise Unavailable(f"{where} answered what cannot be read: {error}") from None


def _shallow(body: bytes) -> bytes:
    kept, depth, since = bytearray(), 0, 0
    for lexeme in _LEXEME.finditer(body):
        if lexeme[0] in b"[{":
            if depth == _KEPT:
                kept += body[since : lexeme.start()] + b"null"
            depth += 1
        elif lexeme[0] in b"]}":
            depth -= 1
            if depth == _KEPT:
                since = lexeme.end()
    return bytes(kept + body[since:])
