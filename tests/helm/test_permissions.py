"""What each service account may do is what its role does, and no more."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import yaml

from nexus.kubernetes.connection import Connection
from nexus.kubernetes.credentials import from_kubeconfig
from tests.helm.accounts import ACTS, Act, Asked, Noted
from tests.helm.installed import Release
from tests.helm.permissions import COMMITTED, current, grants
from tests.support.helm import SHAPES, Helm
from tests.support.kube import Namespace

BASIC = {"authentication.k8s.io", "authorization.k8s.io", "certificates.k8s.io"}
"""What every account may: ask who it is and what it may do, and read whom to trust."""


@asynccontextmanager
async def admin(release: Release) -> AsyncIterator[Namespace]:
    connection = Connection("admin", from_kubeconfig(release.kubeconfig))
    await connection.open()
    yield Namespace(connection, release.namespace)
    await connection.close()


@asynccontextmanager
async def account(release: Release, role: str, folder: Path) -> AsyncIterator[tuple[Noted, Namespace]]:
    """A connection with nothing but a token of the account, and one of the administrator."""
    async with admin(release) as there:
        accounts = f"/api/v1/namespaces/{{}}/serviceaccounts/nexus-{role}"
        granted = await there.call("POST", f"{accounts}/token", {"spec": {"expirationSeconds": 600}})
        document = yaml.safe_load(release.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": granted["status"]["token"]}
        kubeconfig = folder / f"{role}.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(document))
        connection = Noted(role, from_kubeconfig(kubeconfig))
        await connection.open()
        yield connection, there
        await connection.close()


@pytest.mark.parametrize(("mode", "role"), ACTS, ids=lambda part: part)
async def test_an_account_may_do_what_its_role_does_and_no_more(
    releases: Mapping[str, Release], tmp_path, mode, role
):
    release = releases[mode]
    given = grants(release.rendered())[role]
    async with account(release, role, tmp_path) as (connection, there):
        async with asyncio.timeout(60):  # what is forbidden is tried again without end
            for act in ACTS[mode, role]:
                await act(Act(connection, release.namespace, role, there.call))
        allowed = {each for grant in given for each in grant.allows()}
        unbound = {asked for grant in given if not grant.names for asked in grant.allows()}
        asked = {
            each._replace(name="") if each._replace(name="") in unbound else each for each in connection.asked
        }
        assert asked == allowed
        assert await may(connection, release.namespace) == allowed
        elsewhere = {each for each in allowed if each.resource == "namespaces"}
        assert await may(connection, "default") == elsewhere


async def may(connection: Connection, namespace: str) -> set[Asked]:
    """Everything that the API server says this account may do there, but for what everybody may."""
    review = msgspec.json.encode({"spec": {"namespace": namespace}})
    at = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    answer = await Connection.request(connection, "POST", at, review)
    status = msgspec.json.decode(answer.body)["status"]
    assert not status["incomplete"]
    return {
        Asked(verb, group, resource, name)
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        if group not in BASIC
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or ("",)
    }


def test_every_account_has_its_acts(releases: Mapping[str, Release]):
    there = {(mode, role) for mode, release in releases.items() for role in grants(release.rendered())}
    assert there == ACTS.keys()


async def test_the_remote_accounts_have_tokens_for_kubeconfigs(releases: Mapping[str, Release]):
    async with admin(releases["shard"]) as there:
        for role in ("remote-scheduler", "remote-controller"):
            secret = await there.call("GET", f"/api/v1/namespaces/{{}}/secrets/nexus-{role}")
            assert base64.b64decode(secret["data"]["token"]).count(b".") == 2
            assert b"BEGIN CERTIFICATE" in base64.b64decode(secret["data"]["ca.crt"])


def test_the_page_says_the_same(helm: Helm):
    assert COMMITTED.read_text() == current(helm), (
        "run `python -m tests.helm.permissions` and commit what it wrote"
    )


def test_every_mode_is_played():
    assert {mode for mode, _ in ACTS} == SHAPES.keys()
