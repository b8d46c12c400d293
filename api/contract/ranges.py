"""What a reader of something that never changes asked for: all of it, a part, or nothing new (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

__all__ = ["Selected", "select"]

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})")


class Selected(msgspec.Struct, frozen=True):
    """The answer's status and its headers; `start` and `size` of what is sent, where the status has a body."""

    status: int
    headers: dict[str, str]
    start: int = 0
    size: int = 0


def select(headers: Mapping[str, str], etag: str, length: int) -> Selected:
    """For a representation of `length` bytes. Several ranges, and units that are not bytes, are answered with all of it."""
    usual = {"ETag": etag, "Accept-Ranges": "bytes"}
    if "if-match" in headers and not _lists(headers["if-match"], etag):
        return Selected(412, usual)
    if "if-none-match" in headers and _lists(headers["if-none-match"], etag):
        return Selected(304, usual)
    span = _span(headers.get("range", ""), length) if headers.get("if-range", etag) == etag else None
    if span is None:
        return Selected(200, usual | {"Content-Length": str(length)}, 0, length)
    start, stop = span
    if start >= stop:
        return Selected(416, usual | {"Content-Range": f"bytes */{length}"})
    part = {"Content-Range": f"bytes {start}-{stop - 1}/{length}", "Content-Length": str(stop - start)}
    return Selected(206, usual | part, start, stop - start)


def _lists(tags: str, etag: str) -> bool:
    given = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
    return "*" in given or etag in given


def _span(asked: str, length: int) -> tuple[int, int] | None:
    """From and up to; empty where nothing of it is there, None where all is to be sent."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return max(length - int(last), 0), length if int(last) else 0
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, length) if last else length
