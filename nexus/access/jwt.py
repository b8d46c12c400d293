"""JSON Web Tokens: whose they are, once their signature, issuer, audience and times are checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry
from joserfc.util import urlsafe_b64decode

from nexus.access.keys import Keys
from nexus.domain import bounds
from nexus.domain.access import Proof, Subject, user
from nexus.domain.errors import InvalidInput, Unauthenticated, Unavailable
from nexus.domain.texts import check_line
from nexus.ports import TokenSource

__all__ = ["Claims", "Jwt", "user_of"]

_MOST_GROUPS = 500
_OF_KUBERNETES = "system:"
"""What the groups of service accounts begin with, for which an API server vouches and nobody else."""

Claims = dict[str, Any]


class _Header(msgspec.Struct, frozen=True):
    kid: str | None = None


class _Payload(msgspec.Struct, frozen=True):
    iss: str = ""


_headers = msgspec.json.Decoder(_Header)
_payloads = msgspec.json.Decoder(_Payload)


class Jwt(TokenSource):
    """The tokens of one issuer. `algorithms` is what it may sign with, whatever a token says."""

    remembered = True

    def __init__(
        self,
        keys: Keys,
        audience: str,
        algorithms: Collection[str],
        skew: float,
        subject_of: Callable[[Claims], Subject],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`skew` is by how many seconds clocks may differ. `subject_of` raises InvalidInput for claims that name nobody."""
        self._keys = keys
        self._audience = audience
        self._registry = JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
        self._algorithms = list(algorithms)
        self._skew = skew
        self._subject_of = subject_of
        self._clock = clock

    def knows(self, token: str) -> bool:
        try:
            _, issuer = _peek(token)
        except Unauthenticated:
            return False
        return self._keys.issuer is None or issuer == self._keys.issuer

    async def prove(self, token: str) -> Proof:
        kid, _ = _peek(token)
        key = await self._keys.find(kid)
        if self._keys.issuer is None:
            raise Unavailable(f"{self._keys.of} is not known yet: try again")
        try:
            claims = jwt.decode(token, key, algorithms=self._algorithms, registry=self._registry).claims
            self._claims(self._keys.issuer).validate(claims)
            return Proof(self._subject_of(claims), float(claims["exp"]))
        except ExpiredTokenError:
            raise Unauthenticated("the token has expired") from None
        except (InvalidClaimError, MissingClaimError) as error:
            raise Unauthenticated(f"the token is not for here: its {error.description or error}") from None
        except InvalidInput as error:
            raise Unauthenticated(f"the token names nobody: {error}") from None
        except (JoseError, ValueError, TypeError, RecursionError):
            raise Unauthenticated(
                "the token is not signed by its issuer, or not as this server wants it"
            ) from None

    def _claims(self, issuer: str) -> JWTClaimsRegistry:
        return JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=int(self._skew),
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )


def user_of(claims: Claims, name_claim: str, groups_claim: str) -> Subject:
    """Read a user and its groups from claims. Raises InvalidInput where there is no user in them."""
    name = claims.get(name_claim)
    if not isinstance(name, str) or not 0 < len(name) <= bounds.SUBJECT:
        raise InvalidInput(name_claim, f"has to be a text of 1 to {bounds.SUBJECT} characters")
    check_line(name_claim, name)
    if name_claim == "email" and claims.get("email_verified", True) is not True:
        raise InvalidInput(name_claim, "has not been verified")
    given = claims.get(groups_claim, ())
    groups = [given] if isinstance(given, str) else given if isinstance(given, list) else ()
    texts = [each for each in groups if isinstance(each, str) and not each.startswith(_OF_KUBERNETES)]
    return user(name, texts[:_MOST_GROUPS])


def _peek(token: str) -> tuple[str | None, str]:
    """The key id and the issuer that a token names, neither of which is proved. Raises Unauthenticated for what is no JWT."""
    try:
        header, payload, _ = token.encode().split(b".")
        return (
            _headers.decode(urlsafe_b64decode(header)).kid,
            _payloads.decode(urlsafe_b64decode(payload)).iss,
        )
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise Unauthenticated("the token is no JSON Web Token") from None
