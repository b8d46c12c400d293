"""From a bearer token to its subject, by the source whose kind of token it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b

from nexus.domain.access import Proof, Subject
from nexus.domain.errors import Unauthenticated
from nexus.ports import TokenSource
from nexus.recent import Recent

__all__ = ["Authenticator"]

_GOOD_FOR = 60.0
"""Seconds that a proof is believed again without another look: as long may a revoked token go on."""
_REMEMBERED = 10_000
"""Proofs that are kept. What is no proof is not kept: whoever makes tokens up could make up more of them."""
_LONGEST = 16 * 1024
"""Characters of a token."""


class Authenticator:
    """Asks the first source that knows this kind of token. `clock` is in seconds since 1970."""

    def __init__(self, sources: Sequence[TokenSource], clock: Callable[[], float] = time.time) -> None:
        self._sources = sources
        self._clock = clock
        self._proofs: Recent[bytes, tuple[Proof, float]] = Recent(_REMEMBERED)

    async def subject(self, token: str) -> Subject:
        """Raises Unauthenticated for what proves nothing, Unavailable where its source cannot tell now."""
        if len(token) > _LONGEST:
            raise Unauthenticated("the token is longer than any")
        key = blake2b(token.encode(), digest_size=32).digest()
        known = self._proofs.get(key)
        if known is not None:
            proof, until = known
            if self._clock() < until:
                return proof.subject
            del self._proofs[key]
        return (await self._ask(token, key)).subject

    async def _ask(self, token: str, key: bytes) -> Proof:
        for source in self._sources:
            if source.knows(token):
                proof = await source.prove(token)
                if source.remembered:
                    self._remember(key, proof)
                return proof
        raise Unauthenticated("the token is of no kind that is taken here")

    def _remember(self, key: bytes, proof: Proof) -> None:
        until = self._clock() + _GOOD_FOR
        if proof.expires is not None:
            until = min(until, proof.expires)
        self._proofs.keep(key, (proof, until))
