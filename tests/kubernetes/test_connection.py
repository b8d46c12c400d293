"""What a connection makes of credentials that expire, and of an API server that is not heard."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.services.pki import Authority
from nexus.domain.errors import ConfigError, OutcomeUnknown, Unavailable
from nexus.kubernetes.cluster import KubernetesCluster
from nexus.kubernetes.connection import Connection, Load
from nexus.kubernetes.credentials import from_kubeconfig, from_service_account
from tests.contract.clusters import manifest, until
from tests.kubernetes.conftest import Disturbed
from tests.support.kube import Namespace, played

User = Callable[[Path], dict[str, Any]]


def with_user(kubeconfig: Path, user: dict[str, Any], file: Path) -> Load:
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = user
    file.write_text(yaml.safe_dump(config))
    return from_kubeconfig(file)


def written(file: Path, cluster: dict[str, str]) -> Path:
    """A kubeconfig with a token for that cluster."""
    content = {
        "clusters": [{"name": "eu", "cluster": cluster}],
        "contexts": [{"name": "eu", "context": {"cluster": "eu", "user": "eu"}}],
        "users": [{"name": "eu", "user": {"token": "a token"}}],
        "current-context": "eu",
    }
    file.write_text(yaml.safe_dump(content))
    return file


def by_file(token: Path) -> dict[str, Any]:
    return {"tokenFile": str(token)}


def by_plugin(token: Path) -> dict[str, Any]:
    version = "client.authentication.k8s.io/v1"
    credential = {"apiVersion": version, "kind": "ExecCredential"}
    script = (
        "import json, pathlib, sys;"
        f"print(json.dumps({credential!r} | {{'status': {{'token': pathlib.Path(sys.argv[1]).read_text()}}}}))"
    )
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": ["-c", script, str(token)]}}


async def a_token(there: Namespace) -> str:
    path = "/api/v1/namespaces/{}/serviceaccounts/default/token"
    answer = await there.call("POST", path, {"spec": {"expirationSeconds": 600}})
    return str(answer["status"]["token"])


@pytest.mark.parametrize("user", [by_file, by_plugin])
async def test_a_token_that_has_expired_is_read_again(
    there: Namespace, kubernetes_server: Path, tmp_path: Path, user: User
) -> None:
    token = tmp_path / "token"
    token.write_text("expired")
    connection = Connection("real", with_user(kubernetes_server, user(token), tmp_path / "kubeconfig"))
    await connection.open()
    token.write_text(await a_token(there))
    try:
        answers = await asyncio.gather(*(connection.request("GET", "/api") for _ in range(5)))
        assert [answer.status for answer in answers] == [200] * 5
    finally:
        await connection.close()


async def test_a_refusal_that_stays_is_an_answer(kubernetes_server: Path, tmp_path: Path) -> None:
    connection = Connection("real", with_user(kubernetes_server, {"token": "wrong"}, tmp_path / "kubeconfig"))
    await connection.open()
    try:
        assert (await connection.request("GET", "/api")).status == 401
        with pytest.raises(Unavailable, match="401: Unauthorized"):
            await KubernetesCluster("real", connection, "default").identity()
    finally:
        await connection.close()


async def replace(file: Path, content: str) -> None:
    """As a mounted Secret changes: another file is at the end of the link."""
    fresh = file.with_name(f"..{file.name}")
    fresh.write_text(content)
    fresh.rename(file)


async def test_a_rotated_kubeconfig_is_used_for_the_next_call(
    kubernetes_server: Path, tmp_path: Path
) -> None:
    file = tmp_path / "eu.kubeconfig"
    connection = Connection("eu", with_user(kubernetes_server, {"token": "wrong"}, file))
    try:
        assert (await connection.request("GET", "/api")).status == 401
        await replace(file, kubernetes_server.read_text())
        assert (await connection.request("GET", "/api")).status == 200
        await replace(file, "garbage")
        assert (await connection.request("GET", "/api")).status == 200
        file.unlink()
        assert (await connection.request("GET", "/api")).status == 200
    finally:
        await connection.close()


async def test_a_cluster_is_unreachable_until_its_kubeconfig_can_be_used(
    kubernetes_server: Path, tmp_path: Path
) -> None:
    file = tmp_path / "eu.kubeconfig"
    file.write_text("garbage")
    connection = Connection("eu", from_kubeconfig(file))
    cluster = KubernetesCluster("eu", connection, "default")
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match=f"the kubeconfig {file} cannot be used"):
                await cluster.identity()
        await replace(file, kubernetes_server.read_text())
        assert await cluster.identity()
    finally:
        await connection.close()


async def test_where_a_kubeconfig_names_another_server_nothing_goes_on_with_the_former(
    disturbed: Disturbed, kubernetes_server: Path
) -> None:
    """By another address it may be another cluster, which has its own identity and its own Jobs."""
    cluster = KubernetesCluster("disturbed", disturbed.connection, "default")
    identity = await cluster.identity()
    jobs = "/apis/batch/v1/namespaces/default/jobs?watch=true"
    async with disturbed.connection.stream(jobs, 60) as pieces:
        reading = asyncio.create_task(_to_the_end(pieces))
        await replace(disturbed.kubeconfig, kubernetes_server.read_text())
        await disturbed.relay.refuse()
        assert await cluster.identity() == identity
        with pytest.raises(Unavailable):
            await reading


async def _to_the_end(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


@pytest.mark.parametrize(
    "content", [None, "", "no kubeconfig", "apiVersion: v1\nkind: Config\n", "{", "clusters: [1]"]
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "eu.kubeconfig"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=str(file)):
        await Connection("eu", from_kubeconfig(file)).open()


async def test_outside_of_a_cluster_there_is_no_service_account() -> None:
    with pytest.raises(ConfigError, match="service account"):
        await Connection("here", from_service_account()).open()


async def test_nothing_happened_where_nobody_listens(disturbed: Disturbed) -> None:
    await disturbed.relay.refuse()
    cluster = KubernetesCluster("away", disturbed.connection, "default")
    with pytest.raises(Unavailable, match="cannot be reached") as away:
        await cluster.create(manifest({}))
    assert not isinstance(away.value, OutcomeUnknown)


async def test_what_was_sent_and_not_answered_may_have_happened(
    there: Namespace, disturbed: Disturbed
) -> None:
    cluster = KubernetesCluster("real", disturbed.connection, there.name)
    await cluster.identity()  # so that a connection is there to be lost
    disturbed.relay.silent = True
    job = played(manifest({}), "hang")
    creating = asyncio.create_task(cluster.create(job))
    known = KubernetesCluster("real", there.connection, there.name)
    await until(lambda: known.get(job["metadata"]["name"]))
    disturbed.relay.cut()
    with pytest.raises(OutcomeUnknown, match="it may have been done"):
        await creating
    disturbed.relay.silent = False
    assert not (await cluster.create(job)).fresh


async def test_a_reader_is_told_that_nothing_happened(disturbed: Disturbed) -> None:
    cluster = KubernetesCluster("real", disturbed.connection, "default")
    await cluster.get("absent")
    disturbed.relay.silent = True
    reading = asyncio.create_task(cluster.get("absent"))
    await asyncio.sleep(0.1)
    await disturbed.relay.refuse()
    with pytest.raises(Unavailable) as lost:
        await reading
    assert not isinstance(lost.value, OutcomeUnknown)


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, None),
    ],
)
async def test_the_environment_may_name_a_proxy(
    environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        for each in (name, name.lower()):
            monkeypatch.delenv(each, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = written(tmp_path / "kubeconfig", {"server": "https://eu.example:6443"})
    assert (await from_kubeconfig(file)()).proxy == proxy


async def test_certificates_are_taken_that_kubectl_takes(tmp_path: Path) -> None:
    """That of this authority says nothing of the use of its key, as EKS's does not: Python 3.13 is stricter by itself."""
    authority = Authority(tmp_path / "pki", key_usage=False)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("server", "/CN=server", "serverAuth", "IP:127.0.0.1"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        host, port = server.sockets[0].getsockname()
        file = tmp_path / "kubeconfig"
        there = {"server": f"https://{host}:{port}", "certificate-authority": str(authority.certificate)}
        connection = Connection("eu", from_kubeconfig(written(file, there)))
        await connection.open()
        assert (await connection.request("GET", "/version")).status == 200
        await connection.close()
