"""Capabilities: what a Job is given to prove which run it is, and until when. Nothing is stored: each follows from a key."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from hmac import compare_digest
from math import ceil

from nexus.domain.events import RunRequested

__all__ = ["Capabilities", "derived"]

_WITHOUT_DEADLINE = timedelta(days=30)
"""How long a run may report that has no deadline of its own."""
_PURPOSE = b"nexus.capability"


def derived(secret: bytes) -> bytes:
    """A key for capabilities out of the secret that signs addresses, of which it tells nothing."""
    return blake2b(_PURPOSE, key=secret, digest_size=32).digest()


class Capabilities:
    """Of one installation. `keys` are those that are taken, the newest first: it makes the new ones."""

    def __init__(self, keys: Sequence[bytes], installation: str, allowance: timedelta) -> None:
        """`allowance` is how long beyond its deadline, and after its end, a run may report."""
        self._keys = keys
        self._installation = installation
        self._allowance = allowance

    def of(self, request: RunRequested, now: datetime) -> str:
        """That of a run whose Job is made now: text that fits a segment of a path."""
        deadline = request.spec.runtime_environment.deadline_seconds
        lasts = timedelta(seconds=deadline) if deadline else _WITHOUT_DEADLINE
        times = f"{int(now.timestamp()):x}-{ceil((now + lasts + self._allowance).timestamp()):x}"
        return f"{times}.{self._seal(self._keys[0], times, request.request_id, request.algorithm)}"

    def problem(self, capability: str, request_id: str, algorithm: str, now: datetime) -> str:
        """Why it does not prove that its bearer is this run; empty where it does."""
        if not capability:
            return "it has no capability"
        times, _, seal = capability.partition(".")
        given = seal.encode()
        if not any(
            compare_digest(self._seal(key, times, request_id, algorithm).encode(), given)
            for key in self._keys
        ):
            return "its capability is not that of this run"
        if _read(times)[1] < now.timestamp():
            return "its capability has expired"
        return ""

    def young(self, capability: str, now: datetime) -> bool:
        """Whether the run of a capability that proves it cannot have ended too long ago: it had not when its Job was made."""
        made, _ = _read(capability.partition(".")[0])
        return now.timestamp() <= made + self._allowance.total_seconds()

    def ended(self, at: datetime | None, now: datetime) -> str:
        """Why a run that ended then reports no more; empty where it still may."""
        if at is not None and now > at + self._allowance:
            return "its run ended too long ago"
        return ""

    def _seal(self, key: bytes, times: str, request_id: str, algorithm: str) -> str:
        parts = (self._installation.encode(), algorithm.encode(), request_id.encode(), times.encode())
        message = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
        sealed = blake2b(message, key=key, digest_size=16, person=_PURPOSE).digest()
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _read(times: str) -> tuple[int, int]:
    """When it was made, and until when it is good, in seconds since 1970, of what was sealed here."""
    made, _, until = times.partition("-")
    return int(made, 16), int(until, 16)
