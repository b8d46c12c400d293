"""The guard: names the caller of each request, and refuses what no rule allows before a body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

from api.access.caller import EVERYBODY, Caller
from api.access.entrance import Access
from api.access.needs import NEEDS, OWN, Need, Without
from nexus.domain.access import ANYBODY, NOTHING, Verb
from nexus.domain.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

    from api.access.algorithms import Algorithms

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
        prove, rules, tenants, algorithms = self._access
        if prove is None:
            return EVERYBODY
        need = _need(scope)
        if isinstance(need, Without) and need is not Without.KNOWN:
            return EVERYBODY
        try:
            capability = algorithms and scope.get("auth")
            token = _token(scope, needed=not capability)
            if algorithms and not token:
                return await _algorithm(algorithms, scope, need, str(capability))
            subject = await prove(token)
            caller = Caller(subject, rules(), tenants().of(subject))
            _require(caller, need, scope["path_params"].get("algorithm"))
        except Unauthenticated as error:
            _REFUSED.labels("token" if error.given else "no token").inc()
            raise
        except Forbidden:
            _REFUSED.labels("rules").inc()
            raise
        return caller


async def _algorithm(algorithms: Algorithms, scope: Scope, need: Need | None, capability: str) -> Caller:
    """Who asks by what its Job was given. Of which run a submission is tells its body. Raises Unauthenticated, Forbidden."""
    if need is Verb.SUBMIT:
        return Caller(ANYBODY, NOTHING, capability=capability)
    run, algorithm = (scope["path_params"].get(name, "") for name in ("request_id", "algorithm"))
    if _operation(scope) not in OWN:
        await algorithms.refuse(run, algorithm)
    return await algorithms.reader(capability, run, algorithm)


def _require(caller: Caller, need: Need | None, algorithm: str | None) -> None:
    if isinstance(need, Verb):
        caller.require(need, algorithm)
    elif need is not Without.KNOWN:
        raise Forbidden("this path has no rule by which anybody could be let in")


def _need(scope: Scope) -> Need | None:
    if scope.get("method") == "OPTIONS":  # what a browser asks before it sends the token
        return Without.PUBLIC
    return NEEDS.get(_operation(scope))


def _operation(scope: Scope) -> str:
    return f"{scope.get('method')} {scope['path_template']}"


def _token(scope: Scope, *, needed: bool) -> str:
    """Raises Unauthenticated where there is none although it is needed, or more than one."""
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if len(given) > 1:
        raise Unauthenticated("there is more than one Authorization header")
    scheme, _, token = given[0].decode("latin-1").partition(" ") if given else ("", "", "")
    if scheme and scheme.lower() != "bearer":
        raise Unauthenticated("the Authorization header has no bearer token")
    token = token.strip()
    if needed and not token:
        # Upstream's client writes "Bearer" and nothing else where it has no token.
        raise Unauthenticated("this server wants to know who asks: send a bearer token", given=False)
    return token
