"""The guard: names the caller of each request, and refuses what no rule allows before a body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

from api.access.caller import EVERYBODY, Access, Caller
from api.access.needs import NEEDS, Need, Without
from nexus.domain.access import Verb
from nexus.domain.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

__all__ = ["Guard"]

_REFUSED = Counter("nexus_http_refused_total", "Requests that were refused", ["because"])
_HEADER = b"authorization"


class Guard:
    """`around` is a middleware of Litestar, for after the path's parameters are decoded."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def around(self, app: ASGIApp) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            scope["user"] = await self._let_in(scope)
            await app(scope, receive, send)

        return guarded

    async def _let_in(self, scope: Scope) -> Caller:
        """Raises Unauthenticated, Forbidden, or Unavailable where it cannot be told now whose a token is."""
        prove, rules, tenants = self._access
        if prove is None:
            return EVERYBODY
        need = _need(scope)
        if isinstance(need, Without) and need is not Without.KNOWN:
            return EVERYBODY
        try:
            subject = await prove(_token(scope))
            caller = Caller(subject, rules(), tenants().of(subject))
            _require(caller, need, scope["path_params"].get("algorithm"))
        except Unauthenticated as error:
            _REFUSED.labels("token" if error.given else "no token").inc()
            raise
        except Forbidden:
            _REFUSED.labels("rules").inc()
            raise
        return caller


def _require(caller: Caller, need: Need | None, algorithm: str | None) -> None:
    if isinstance(need, Verb):
        caller.require(need, algorithm)
    elif need is not Without.KNOWN:
        raise Forbidden("this path has no rule by which anybody could be let in")


def _need(scope: Scope) -> Need | None:
    method = str(scope.get("method"))
    if method == "OPTIONS":  # what a browser asks before it sends the token
        return Without.PUBLIC
    return NEEDS.get(f"{method} {scope['path_template']}")


def _token(scope: Scope) -> str:
    """Raises Unauthenticated where there is none, or more than one."""
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if len(given) > 1:
        raise Unauthenticated("there is more than one Authorization header")
    scheme, _, token = given[0].decode("latin-1").partition(" ") if given else ("", "", "")
    if scheme and scheme.lower() != "bearer":
        raise Unauthenticated("the Authorization header has no bearer token")
    if not (token := token.strip()):
        # Upstream's client writes "Bearer" and nothing else where it has no token.
        raise Unauthenticated("this server wants to know who asks: send a bearer token", given=False)
    return token
