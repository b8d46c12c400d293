"""Tokens of service accounts, by the API server that issued them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from nexus.access.jwt import Jwt, user_of
from nexus.access.keys import Keys, Published
from nexus.domain.errors import Unauthenticated, Unavailable
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.token_reviews import TokenReviews, published
from tests.kubernetes.conftest import Disturbed
from tests.support.kube import Namespace

ACCOUNT = "/api/v1/namespaces/{}/serviceaccounts/worker"


async def account(there: Namespace, audience: str = "nexus") -> str:
    """A token of the service account `worker` of the namespace."""
    if await there.call("GET", ACCOUNT) is None:
        await there.call("POST", ACCOUNT.rpartition("/")[0], {"metadata": {"name": "worker"}})
    answer = await there.call(
        "POST", f"{ACCOUNT}/token", {"spec": {"audiences": [audience], "expirationSeconds": 600}}
    )
    return str(answer["status"]["token"])


def reviews(connection: Connection) -> TokenReviews:
    async def fetch() -> Published:
        return Published(*await published(connection))

    algorithms = ("RS256", "ES256")
    keys = Keys("the cluster", fetch, algorithms)
    return TokenReviews(
        connection, "nexus", Jwt(keys, "nexus", algorithms, 30, lambda claims: user_of(claims, "sub", ""))
    )


async def test_a_service_account_is_known_with_its_groups(there: Namespace):
    source = reviews(there.connection)
    token = await account(there)
    assert source.knows(token)
    proof = await source.prove(token)
    assert proof.subject.name == f"serviceaccount:{there.name}/worker"
    assert f"group:system:serviceaccounts:{there.name}" in proof.subject.groups
    assert proof.expires is not None
    assert not source.knows("nexus_static")


async def test_a_token_for_somebody_else_is_refused(there: Namespace):
    with pytest.raises(Unauthenticated, match="aud"):
        await reviews(there.connection).prove(await account(there, "vault"))


async def test_an_account_that_is_deleted_has_no_token(there: Namespace):
    """Once the API server has heard of that itself, which believes what it has found for some seconds."""
    source, token = reviews(there.connection), await account(there)
    await there.call("DELETE", ACCOUNT)

    async def until_refused() -> None:
        while await source.prove(token):
            await asyncio.sleep(0.05)

    with pytest.raises(Unauthenticated, match="does not vouch"):
        await asyncio.wait_for(until_refused(), 60)


async def test_what_is_forged_never_reaches_the_api_server(there: Namespace, monkeypatch: pytest.MonkeyPatch):
    source, token = reviews(there.connection), await account(there)
    assert await source.prove(token)
    head, _, _ = token.rpartition(".")
    asked = []
    monkeypatch.setattr(Connection, "request", lambda *call, **_: asked.append(call))
    for forged in (f"{head}.AAAA", f"{head}.", token[:-8] + "AAAAAAAA"):
        with pytest.raises(Unauthenticated):
            await source.prove(forged)
    assert asked == []


async def test_while_the_api_server_is_away_nothing_is_said_of_a_token(
    there: Namespace, disturbed: Disturbed
):
    source, token = reviews(disturbed.connection), await account(there)
    assert await source.prove(token)
    await disturbed.relay.refuse()
    with pytest.raises(Unavailable):
        await source.prove(token)


async def test_an_account_that_may_not_ask_says_so(there: Namespace, monkeypatch: pytest.MonkeyPatch):
    """What an installation forgot is no fault of the caller."""
    source, token = reviews(there.connection), await account(there)
    assert await source.prove(token)
    real = Connection.request

    async def denied(connection, method, path, *rest, **more):
        answer = await real(connection, method, path, *rest, **more)
        if not path.endswith("tokenreviews"):
            return answer
        body = {"kind": "Status", "message": "tokenreviews is forbidden", "code": 403}
        return answer._replace(status=403, body=msgspec.json.encode(body))

    monkeypatch.setattr(Connection, "request", denied)
    with pytest.raises(Unavailable, match="tokenreviews is forbidden"):
        await source.prove(token)
