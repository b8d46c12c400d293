"""How much a tenant may ask of one server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.caller import Caller
from api.access.limits import Limits
from nexus.domain.access import ANYBODY, EVERYTHING, REST, Allowance, Tenant
from nexus.domain.errors import LimitReached


@given(
    rate=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 20)), min_size=1, max_size=40),
)
def test_no_more_is_taken_than_a_second_ahead_and_once_beyond(rate, steps):
    allowance, now, taken, most = Allowance(rate, 0.0), 0.0, 0, 0
    for seconds, amount in steps:
        now += seconds
        if allowance.wait(now) == 0:
            allowance.take(amount)
            taken += amount
            most = max(most, amount)
        assert taken <= rate * (now + 1) + most + 1e-6


@given(rate=st.integers(1, 50), taken=st.integers(1, 1000))
def test_who_waits_as_long_as_it_is_told_gets_in(rate, taken):
    allowance = Allowance(rate, 0.0)
    allowance.take(taken)
    assert allowance.wait(allowance.wait(0.0) + 1e-3) == 0


class Server:
    """Counts what it was asked, and reads each body."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bodies: list[int] = []
        self._limited = Limits(lambda: self.now).around(self._app)

    async def _app(self, scope, receive, send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
        self.bodies.append(size)

    async def asked(self, tenant: Tenant, receive) -> None:
        await self._limited({"user": Caller(ANYBODY, EVERYTHING, tenant)}, receive, None)

    async def ask(self, tenant: Tenant, *body: bytes) -> bool:
        """Whether it was let in."""
        parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
        parts.append({"type": "http.request", "body": b"", "more_body": False})

        async def receive():
            return parts.pop(0)

        before = len(self.bodies)
        try:
            await self.asked(tenant, receive)
        except LimitReached:
            return False
        return len(self.bodies) > before


def tenant(name: str = "t", **limits: int) -> Tenant:
    return Tenant(name=name, subjects=("*",), **limits)


async def test_requests_of_a_tenant_are_limited_and_those_of_others_are_not():
    server, limited = Server(), tenant(requests_per_second=3)
    assert [await server.ask(limited) for _ in range(5)] == [True, True, True, False, False]
    assert await server.ask(tenant("other", requests_per_second=1))
    assert all([await server.ask(REST) for _ in range(100)])
    server.now += 1.0
    assert [await server.ask(limited) for _ in range(5)] == [True, True, True, False, False]


async def test_bytes_are_counted_as_they_come_and_what_is_beyond_comes_back_first():
    server, limited = Server(), tenant(bytes_per_second=100)
    assert await server.ask(limited, b"x" * 150, b"x" * 150)
    assert not await server.ask(limited)
    server.now += 1.9
    assert not await server.ask(limited)
    server.now += 0.2
    assert await server.ask(limited)


async def test_a_changed_limit_holds_at_once():
    server = Server()
    assert await server.ask(tenant(requests_per_second=1))
    assert not await server.ask(tenant(requests_per_second=1))
    assert [await server.ask(tenant(requests_per_second=2)) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("limit", ["requestsPerSecond", "bytesPerSecond"])
async def test_the_limit_is_named(limit):
    server = Server()
    limited = tenant(requests_per_second=1) if limit.startswith("requests") else tenant(bytes_per_second=1)
    assert await server.ask(limited, b"xxxxx")
    with pytest.raises(LimitReached, match=f"tenant 't' has reached its limit {limit}: 1 ") as caught:
        await server.asked(limited, None)
    assert caught.value.retry_after > 0
