"""Tokens of service accounts: the API server that issued them says whose they are, and whether that account still is."""

from __future__ import annotations

import asyncio

import msgspec

from nexus.domain.access import Proof, service_account
from nexus.domain.errors import Unauthenticated, Unavailable
from nexus.kubernetes.connection import Connection, refusal
from nexus.kubernetes.decoding import decode
from nexus.ports import TokenSource

__all__ = ["TokenReviews", "published"]

_WELL_KNOWN = "/.well-known/openid-configuration"
_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCOUNT = "system:serviceaccount:"
_IN_FLIGHT = 16


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    groups: tuple[str, ...] = ()


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: tuple[str, ...] = ()


class _Review(msgspec.Struct, frozen=True):
    status: _Status = _Status()


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str


_REVIEW = msgspec.json.Decoder(_Review)
_DISCOVERY = msgspec.json.Decoder(_Discovery)


class TokenReviews(TokenSource):
    """The service accounts of one cluster. `signed` proves that it issued a token: no other is put before its API server."""

    remembered = True

    def __init__(self, connection: Connection, audience: str, signed: TokenSource) -> None:
        self._connection = connection
        self._audience = audience
        self._signed = signed
        self._asking = asyncio.Semaphore(_IN_FLIGHT)

    def knows(self, token: str) -> bool:
        return self._signed.knows(token)

    async def prove(self, token: str) -> Proof:
        signed = await self._signed.prove(token)
        found = await self._review(token)
        kind, _, rest = found.user.username.partition(_ACCOUNT)
        namespace, _, name = rest.partition(":")
        if not found.authenticated or self._audience not in found.audiences:
            raise Unauthenticated("the cluster does not vouch for the token any more")
        if kind or not namespace or not name:
            raise Unauthenticated("the token is not that of a service account")
        return Proof(service_account(namespace, name, found.user.groups), signed.expires)

    async def _review(self, token: str) -> _Status:
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        async with self._asking:
            answer = await self._connection.request("POST", _REVIEWS, msgspec.json.encode(asked))
        if answer.status != 201:
            raise Unavailable(f"the cluster does not review tokens: {refusal(answer)}")
        return decode(_REVIEW, answer.body, _REVIEWS).status


async def published(connection: Connection) -> tuple[str, bytes]:
    """Read the issuer of a cluster's service accounts, and its JWKS document. Raises Unavailable."""
    discovery = await _read(connection, _WELL_KNOWN)
    return decode(_DISCOVERY, discovery, _WELL_KNOWN).issuer, await _read(connection, "/openid/v1/jwks")


async def _read(connection: Connection, path: str) -> bytes:
    answer = await connection.request("GET", path)
    if answer.status != 200:
        raise Unavailable(f"{path} cannot be read: {refusal(answer)}")
    return answer.body
