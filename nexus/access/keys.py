"""The public keys of an issuer: fetched beside the requests, kept while it is away, and never asked for by each bad token."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Awaitable, Callable, Collection
from typing import Any, NamedTuple

import msgspec
import structlog
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from nexus.domain.errors import InvalidInput, Unauthenticated, Unavailable

__all__ = ["Key", "Keys", "Published", "read_keys"]

_log = structlog.get_logger(__name__)

_FRESH = 300.0
"""Seconds until keys are fetched again that nobody has missed."""
_PAUSE = 30.0
"""Seconds between two fetches because of a key that is not known: whoever makes tokens up can make up any key id."""
_AGAIN = 5.0
"""Seconds until an issuer is asked again that did not answer."""
_TIMEOUT = 10.0
"""Seconds for all of an answer."""
_WAITING = 64
"""Requests that wait for a fetch at a time; more are answered that they may try again."""
_MOST = 100
"""Keys of an issuer."""

Key = RSAKey | ECKey | OKPKey


class Published(NamedTuple):
    """What an issuer says of itself: its name in tokens, and its JWKS document."""

    issuer: str
    jwks: bytes


class Keys:
    """Keep `follow` running. `issuer` is None until it is known, `problem` is why the last fetch failed."""

    def __init__(
        self,
        of: str,
        fetch: Callable[[], Awaitable[Published]],
        algorithms: Collection[str],
        issuer: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`of` names the issuer in messages. `fetch` raises Unavailable or InvalidInput."""
        self.of = of
        self.issuer = issuer
        self.problem = "its keys have not been fetched yet"
        self._fetch = fetch
        self._algorithms = algorithms
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._fetched_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._waiting = 0

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            await self._fetch_once()
            await asyncio.sleep(_AGAIN if self.problem else _FRESH)

    async def find(self, kid: str | None) -> Key:
        """The key of that id; without an id the only one that there is.

        Raises Unauthenticated where the issuer has no such key, Unavailable where that is not known now.
        """
        key = self._find(kid)
        if key is None and self._may_fetch():
            await self._wait_for_fetch()
            key = self._find(kid)
        if key is not None:
            return key
        if self.problem:
            raise Unavailable(f"the keys of {self.of} cannot be fetched: {self.problem}")
        raise Unauthenticated("the token is signed by a key that its issuer does not publish")

    def _find(self, kid: str | None) -> Key | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _may_fetch(self) -> bool:
        due = self._fetched_at is None or self._clock() >= self._fetched_at + (
            _AGAIN if self.problem else _PAUSE
        )
        return due or self._fetching is not None

    async def _wait_for_fetch(self) -> None:
        if self._waiting >= _WAITING:
            raise Unavailable(f"the keys of {self.of} are being fetched: try again")
        self._waiting += 1
        try:
            await self._fetch_once()
        finally:
            self._waiting -= 1

    async def _fetch_once(self) -> None:
        """One fetch for all who want one at the same time, which goes on whoever of them is cancelled."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._take_over())
        await asyncio.shield(self._fetching)

    async def _take_over(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                published = await self._fetch()
            self._keys = read_keys(published.jwks, self._algorithms)
            self.issuer, self.problem = published.issuer, ""
        except TimeoutError:
            self._failed(f"no whole answer within {_TIMEOUT:.0f} s")
        except (InvalidInput, Unavailable) as error:
            self._failed(str(error))
        finally:
            self._fetched_at = self._clock()
            self._fetching = None

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("keys_not_fetched", of=self.of, problem=problem, kept=len(self._keys))
        self.problem = problem


class _Jwks(msgspec.Struct):
    keys: list[dict[str, Any]]


def read_keys(jwks: bytes, algorithms: Collection[str]) -> dict[str, Key]:
    """The keys of a JWKS document by id, those that verify with these algorithms. Raises InvalidInput where there is none.

    What cannot be read is passed over, as RFC 7517 has it; so is a secret, by which no issuer could be told from us.
    """
    try:
        found = msgspec.json.decode(jwks, type=_Jwks).keys[:_MOST]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInput("", f"what it publishes is no JWKS document ({error})") from None
    keys: dict[str, Key] = {}
    for each in found:
        key = _usable(each, algorithms)
        if key is not None:
            keys[str(each.get("kid", ""))] = key
    if not keys:
        raise InvalidInput("", f"it publishes no key for {', '.join(sorted(algorithms))}")
    return keys


def _usable(jwk: dict[str, Any], algorithms: Collection[str]) -> Key | None:
    if jwk.get("use", "sig") != "sig" or ("alg" in jwk and jwk["alg"] not in algorithms):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)  # of a key that is too short
            key = import_key(jwk)
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError):
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) and not key.is_private else None
