"""What a tenant may ask of this server in a time: requests, and the bytes of their bodies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import Counter

from nexus.domain.access import Allowance, Tenant
from nexus.domain.errors import LimitReached

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send, WebSocketReceiveMessage

__all__ = ["Limits"]

_LIMITED = Counter(
    "nexus_tenant_limited_total", "Requests beyond a limit of their tenant", ["tenant", "limit"]
)
"""There are as many tenants as somebody wrote down."""


class _Left:
    """Of one tenant, by the limits that it has now."""

    def __init__(self, tenant: Tenant, now: float) -> None:
        self.tenant = tenant
        self.requests = _allowance(tenant.requests_per_second, now)
        self.bytes = _allowance(tenant.bytes_per_second, now)


class Limits:
    """`around` is a middleware of Litestar, for after the guard. Each server counts by itself, from nothing."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._of: dict[str, _Left] = {}

    def around(self, app: ASGIApp) -> ASGIApp:
        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            tenant: Tenant = scope["user"].tenant
            await app(scope, self._admitted(tenant, receive), send)

        return limited

    def _admitted(self, tenant: Tenant, receive: Receive) -> Receive:
        """Count the request, and its body as that comes. Raises LimitReached, where nothing of the body is read yet."""
        if tenant.requests_per_second is None and tenant.bytes_per_second is None:
            return receive
        now = self._monotonic()
        left = self._of.get(tenant.name)
        if left is None or left.tenant != tenant:
            left = self._of[tenant.name] = _Left(tenant, now)
        _check(left.requests, tenant, now, "requestsPerSecond", tenant.requests_per_second)
        _check(left.bytes, tenant, now, "bytesPerSecond", tenant.bytes_per_second)
        if left.requests:
            left.requests.take(1)
        return _counted(receive, left.bytes) if left.bytes else receive


def _allowance(rate: int | None, now: float) -> Allowance | None:
    return None if rate is None else Allowance(rate, now)


def _check(allowance: Allowance | None, tenant: Tenant, now: float, limit: str, rate: int | None) -> None:
    if allowance and (wait := allowance.wait(now)):
        _LIMITED.labels(tenant.name, limit).inc()
        raise LimitReached(
            f"the tenant {tenant.name!r} has reached its limit {limit}: {rate} here: wait as long as Retry-After says, and ask "
            "for less at a time, or have the limit raised",
            wait,
        )


def _counted(receive: Receive, allowance: Allowance) -> Receive:
    async def counted() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        message = await receive()
        if message["type"] == "http.request":
            allowance.take(len(message["body"]))
        return message

    return counted
