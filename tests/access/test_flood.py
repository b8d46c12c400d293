"""Ten thousand tokens that somebody made up, and those who have one of their own."""

from __future__ import annotations

import asyncio
import itertools

from nexus.access.authenticator import Authenticator
from nexus.domain.errors import Unauthenticated
from tests.access.test_jwt import Issuing, rsa, signed, unsigned

MADE_UP = 10_000
EVERY = 500
"""Of so many made-up tokens one request comes from who is known, and one from who was not seen before."""

KINDS = (
    lambda n: f"{n}.{n}.{n}",
    lambda n: f"nexus_{n}",
    lambda n: unsigned({"alg": "none", "kid": "one"}, sub=str(n)),
    lambda n: unsigned({"alg": "RS256", "kid": str(n)}),
    lambda n: unsigned({"alg": "RS256", "kid": "one"}, sub=str(n)) + "AAAA",
)


async def test_made_up_tokens_are_neither_kept_nor_passed_on():
    issuer = Issuing(rsa("one"))
    authenticator = Authenticator([issuer.source])
    known = signed()
    await authenticator.subject(known)
    kinds = itertools.cycle(KINDS)
    for first in range(0, MADE_UP, EVERY):
        flood = [next(kinds)(number) for number in range(first, first + EVERY)]
        answers = await asyncio.gather(
            *map(authenticator.subject, [*flood, known, signed(sub=str(first))]), return_exceptions=True
        )
        assert {type(each) for each in answers[:EVERY]} == {Unauthenticated}
        assert [each.name for each in answers[EVERY:]] == ["user:alice", f"user:{first}"]
    assert issuer.asked == 1
    assert len(authenticator._proofs) == MADE_UP // EVERY + 1
