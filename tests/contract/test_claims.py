"""The contract of the claims: every adapter passes these."""

from __future__ import annotations

import asyncio

import pytest

from nexus.cassandra.claims import CassandraClaims
from nexus.embedded.claims import SqliteClaims
from nexus.ports import Claim
from tests.contract.at_once import AtOnce
from tests.simulation.stores import ClaimsModel, SimulatedClaims
from tests.support.cassandra import cassandra_session
from tests.support.servers import on_server


@pytest.fixture(params=["embedded", "simulated", *on_server("cassandra_schema", "cassandra")])
def server(request):
    """How to reach the engine, where it is one that is reached."""
    local = request.param in {"embedded", "simulated"}
    return request.param if local else request.getfixturevalue("cassandra_schema")


@pytest.fixture
async def claims(server, tmp_path):
    if server == "simulated":
        yield SimulatedClaims(ClaimsModel(), AtOnce())
    elif server == "embedded":
        claims = SqliteClaims(tmp_path / "claims.db")
        yield claims
        claims.close()
    else:
        async with cassandra_session(server) as session:
            yield await CassandraClaims.open(session, server)


async def test_the_first_claim_stands(claims):
    first, second = Claim("h1", b"one"), Claim("h2", b"two")
    assert await claims.claim("alg", "key", first) == first
    assert await claims.claim("alg", "key", second) == first


async def test_keys_are_per_algorithm(claims):
    assert await claims.claim("a", "key", Claim("h", b"a")) == Claim("h", b"a")
    assert await claims.claim("b", "key", Claim("h", b"b")) == Claim("h", b"b")


async def test_of_many_at_once_one_wins_for_all(claims):
    answers = await asyncio.gather(*(claims.claim("a", "k", Claim("h", str(i).encode())) for i in range(50)))
    assert len({answer.request for answer in answers}) == 1
