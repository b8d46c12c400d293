"""Static tokens: random, and kept as hashes in a file, which shows who reads it nothing that could be used."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated

import msgspec
import yaml

from nexus.access.files import FollowedFile, document
from nexus.domain.access import Proof, token_holder
from nexus.domain.decoding import converted
from nexus.domain.errors import InvalidInput, Unauthenticated
from nexus.ports import TokenSource

__all__ = ["StaticTokens", "TokenEntry", "add_token", "new_token", "read_tokens"]

_PREFIX = "nexus_"
"""Tells such a token from all others, also where it turns up and should not."""
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,100}")


class TokenEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`sha256` is that of the whole token, in hex. It holds 256 random bits, so that a slow hash would add nothing."""

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    groups: tuple[str, ...] = ()
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: list[TokenEntry] = []


Entries = Mapping[str, TokenEntry]
"""By hash."""


class StaticTokens(TokenSource):
    """The tokens of a file. They are looked up each time, so that one that was taken out is refused at once."""

    remembered = False

    def __init__(self, file: FollowedFile[Entries], clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock

    def knows(self, token: str) -> bool:
        return token.startswith(_PREFIX)

    async def prove(self, token: str) -> Proof:
        entry = self._file.value.get(_hash(token))
        if entry is None:
            raise Unauthenticated("the token is none of those that are known here")
        expires = entry.expires.timestamp() if entry.expires else None
        if expires is not None and self._clock() >= expires:
            raise Unauthenticated("the token has expired")
        return Proof(token_holder(entry.name, entry.groups), expires)


def new_token(name: str, groups: tuple[str, ...], expires: datetime | None) -> tuple[str, TokenEntry]:
    """Make a token, which is kept nowhere, and the entry that lets it in. Raises InvalidInput for a name that cannot be."""
    if not _NAME.fullmatch(name):
        raise InvalidInput("--name", f"{name[:100]!r}: write 1 to 100 letters, digits and any of ._@-")
    secret = _PREFIX + secrets.token_urlsafe(32)
    at = expires.astimezone(UTC).replace(microsecond=0) if expires else None
    return secret, TokenEntry(name=name, sha256=_hash(secret), groups=groups, expires=at)


def add_token(content: bytes, entry: TokenEntry, field: str) -> bytes:
    """The file with one more entry. A former token of the same name stays, so that one can be exchanged for another."""
    entries = [*read_tokens(content, field).values(), entry]
    return yaml.safe_dump(msgspec.to_builtins(_Document(entries)), sort_keys=False).encode()


def read_tokens(content: bytes, field: str) -> Entries:
    """The entries of a file of tokens. Raises InvalidInput that names the member below `field`."""
    found = converted(document(content, field), _Document, field).tokens
    return {entry.sha256: entry for entry in found}


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
