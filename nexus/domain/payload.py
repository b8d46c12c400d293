"""Payload addresses: content hash and signed URLs of contract §5.3 and §5.4."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from nexus.domain.duration import whole_seconds

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "LONGEST_KEY",
    "SHORTEST_KEY",
    "Grant",
    "PayloadSigner",
    "content_hash",
    "payload_key",
    "payload_path",
    "sign",
    "verify",
]

DEFAULT_TENANT = "00000000-0000-0000-0000-000000000000"

SHORTEST_KEY = 32
"""Bytes of a key that signs addresses: as many as the signature has."""
LONGEST_KEY = 64
"""Bytes, which is all that BLAKE2b takes."""


class Grant(msgspec.Struct, frozen=True):
    """What a signature covers. Times are unix seconds; `chk` is the content hash."""

    path: str
    tid: str
    chk: str
    valid_from: int
    valid_to: int


def content_hash(body: Buffer) -> str:
    """Base64 of the eight hex digits of CRC32-IEEE, as the B stratum of upstream stores it."""
    return base64.b64encode(f"{zlib.crc32(body):08x}".encode()).decode()


def payload_key(algorithm: str, request_id: str) -> str:
    """Where a payload lies below the store's root (contract §5.3)."""
    return f"algorithm={algorithm}/{request_id}"


def payload_path(algorithm: str, request_id: str) -> str:
    """The path under which the API serves a payload (contract §5.4), and the unsigned address of an inline one."""
    return f"/data/v1/payloads/{algorithm}/requests/{request_id}"


def sign(grant: Grant, secret: bytes) -> str:
    """Keyed BLAKE2b-256 over path, tenant, hash and validity, in unpadded base64url."""
    message = b"".join(
        (
            grant.path.encode(),
            grant.tid.encode(),
            grant.chk.encode(),
            grant.valid_from.to_bytes(8, "little"),
            grant.valid_to.to_bytes(8, "little"),
        )
    )
    digest = blake2b(message, key=secret, digest_size=32).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def verify(grant: Grant, signature: str, secret: bytes, now: float) -> bool:
    """Whether the signature is ours and not yet expired. `from` is not enforced, as upstream."""
    return compare_digest(sign(grant, secret).encode(), signature.encode()) and now <= grant.valid_to


class PayloadSigner(msgspec.Struct, frozen=True):
    """Signs and checks the addresses under which the API serves payloads.

    `base` is scheme and host without a trailing slash; `secret` has at most 64 bytes.
    """

    base: str
    tenant: str
    secret: bytes

    def url(self, algorithm: str, request_id: str, chk: str, now: datetime, valid_for: timedelta) -> str:
        """An address that is good from now on, for that long."""
        start = int(now.timestamp())
        grant = Grant(
            path=payload_path(algorithm, request_id),
            tid=self.tenant,
            chk=chk,
            valid_from=start,
            valid_to=start + whole_seconds(valid_for),
        )
        query = {
            "chk": grant.chk,
            "from": str(grant.valid_from),
            "sig": sign(grant, self.secret),
            "tid": grant.tid,
            "to": str(grant.valid_to),
        }
        return f"{self.base}{quote(grant.path)}?{urlencode(query)}"

    def allows(self, path: str, query: Mapping[str, str], now: datetime) -> bool:
        """Whether a request for that decoded path carries our signature and comes in time."""
        try:
            grant = Grant(path, query["tid"], query["chk"], _seconds(query["from"]), _seconds(query["to"]))
            return verify(grant, query["sig"], self.secret, now.timestamp())
        except (KeyError, ValueError):
            return False


def _seconds(text: str) -> int:
    """Unix seconds as we write them: ASCII digits that fit the eight bytes of the signature's message."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(text[:40])
    return int(text)
