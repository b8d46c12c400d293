"""Identities: request ids are UUIDv7, event ids are a hash of what was said."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING
from uuid import UUID

from nexus.domain.errors import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["fingerprint", "issued_at", "parse_request_id"]


def parse_request_id(text: str) -> str:
    """The canonical form of a request id, or InvalidInput when it is not a UUID written in the usual way."""
    try:
        canonical = str(UUID(text))
    except ValueError:
        canonical = ""
    if not canonical or canonical != text.lower():
        raise InvalidInput(
            "requestId", f"{text[:64]!r} is not a UUID such as the one that the submission answered"
        )
    return canonical


def issued_at(request_id: str) -> datetime | None:
    """When a UUIDv7 was made, to the millisecond; None for any other version."""
    uuid = UUID(request_id)
    if uuid.version != 7:
        return None
    try:
        return datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def fingerprint(*parts: str | Buffer) -> str:
    """A 128-bit BLAKE2b hash of the parts in hex; their boundaries count, so ("ab", "c") differs from ("a", "bc")."""
    encoded = [memoryview(part.encode() if isinstance(part, str) else part) for part in parts]
    hashed = blake2b(b"".join(len(part).to_bytes(8, "little") for part in encoded), digest_size=16)
    for part in encoded:
        hashed.update(part)
    return hashed.hexdigest()
