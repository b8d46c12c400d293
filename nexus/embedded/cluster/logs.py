"""The ends of log files."""

from __future__ import annotations

import os

from nexus.domain.tail import tail as end_of

__all__ = ["tail", "termination_message"]

_MESSAGE_BYTES = 2048
_MESSAGE_LINES = 80


def tail(path: str, limit: int) -> str:
    """At most the last `limit` bytes, from a line's beginning on; empty when there is no such file."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - the owner must start without pathlib
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit - 1))
            return end_of(file.read(limit + 1), limit)
    except FileNotFoundError:
        return ""


def termination_message(path: str) -> str:
    """What `FallbackToLogsOnError` shows of a failure: at most 80 lines and 2048 bytes."""
    return "".join(tail(path, _MESSAGE_BYTES).splitlines(keepends=True)[-_MESSAGE_LINES:])
