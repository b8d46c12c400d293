"""Records in and out of Kafka's form."""

from __future__ import annotations

from collections.abc import Iterable

from nexus.ports import Position, Record

__all__ = ["from_kafka"]


def from_kafka(
    position: Position,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    timestamp: int,
) -> Record:
    """`timestamp` is in milliseconds. What others wrote there is no reason to fail: it will be dead-lettered."""
    return Record(
        position,
        (key or b"").decode(errors="replace"),
        value or b"",
        {name: (text or b"").decode(errors="replace") for name, text in headers},
        timestamp / 1000,
    )
