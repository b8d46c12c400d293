"""The end of a log, cut where a reader can begin."""

from __future__ import annotations

__all__ = ["tail"]


def tail(log: bytes, limit: int) -> str:
    """At most the last `limit` bytes, from the beginning of a line on, or of a character where a line is long.

    `log` is all of it, or its end with at least one byte more than the limit.
    """
    if len(log) <= limit:
        return log.decode(errors="replace")
    start = len(log) - limit
    line = log.find(b"\n", start - 1, start + limit // 2) + 1  # the byte before may end a line just there
    if not line:
        line = start
        while line < len(log) and log[line] & 0b1100_0000 == 0b1000_0000:
            line += 1
    return log[line:].decode(errors="replace")
