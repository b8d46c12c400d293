"""TLS: asked by real clients, with certificates that change under way."""

from __future__ import annotations

import asyncio
import ssl

import httpx
import pytest
from typer.testing import CliRunner

from api.app import create_app
from api.health import Health
from infra.services.pki import Authority
from nexus.cli import app as cli
from nexus.composition.certificates import Certificates
from nexus.composition.listening import listening
from nexus.config import Http, load
from nexus.domain.errors import ConfigError
from tests.unit.test_cli import free_port, refused

NAMES = "IP:127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


async def app(scope, receive, send):
    """Says how it was asked, after a while where it is told so."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(2)
    body = scope["scheme"].encode()
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


def put(folder, pair):
    """As a mounted Secret is changed: both at once."""
    for name, file in zip(("tls.crt", "tls.key"), pair, strict=True):
        (folder / f".{name}").write_bytes(file.read_bytes())
        (folder / f".{name}").replace(folder / name)


def http_of(folder, **fields):
    return Http(
        port=free_port(),
        tls_certificate_file=folder / "tls.crt",
        tls_key_file=folder / "tls.key",
        **fields,
    )


def trusting(authority, pair=None):
    context = ssl.create_default_context(cafile=authority.certificate)
    if pair:
        context.load_cert_chain(*pair)
    return context


async def serial(http, authority):
    """That of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", http.port, ssl=trusting(authority))
    found = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    return found


async def until(look):
    async with asyncio.timeout(60):
        while True:
            try:
                if await look():
                    return
            except (OSError, httpx.TransportError):
                pass
            await asyncio.sleep(0.05)


async def test_a_certificate_changes_and_nobody_is_dropped(authority, tmp_path):
    first, second = (authority.issue(name, f"/CN={name}", "serverAuth", NAMES) for name in ("one", "two"))
    put(tmp_path, first)
    http = http_of(tmp_path)
    certificates = Certificates.of(http)
    async with (
        listening(app, None, http, 100, certificates),
        httpx.AsyncClient(base_url=http.address, verify=trusting(authority), timeout=30) as client,
    ):
        await until(lambda: client.get("/"))
        assert (await client.get("/")).text == "https"
        before = await serial(http, authority)

        (tmp_path / "tls.crt").write_bytes(second[0].read_bytes())  # a key that is not its own

        async def noticed():
            return certificates.problem

        await until(noticed)
        assert "tls.key" in certificates.problem
        assert await serial(http, authority) == before

        put(tmp_path, second)
        answers = []

        async def changed():
            answers.append((await client.get("/slow")).status_code)
            return await serial(http, authority) != before

        await until(changed)
        assert set(answers) == {200}
        assert certificates.problem == ""
        assert (await client.get("/")).text == "https"


async def test_clients_show_a_certificate_where_one_is_wanted(authority, tmp_path):
    server = authority.issue("server", "/CN=server", "serverAuth", NAMES)
    put(tmp_path, server)
    other = Authority(tmp_path / "other")
    http = http_of(tmp_path, tls_client_ca_file=authority.certificate, probe_port=free_port())
    async with listening(app, app, http, 100, Certificates.of(http)):
        mine = authority.issue("client", "/CN=client", "clientAuth")
        async with httpx.AsyncClient(base_url=http.address, verify=trusting(authority, mine)) as client:
            await until(lambda: client.get("/"))
        for wrong in (None, other.issue("client", "/CN=client", "clientAuth")):
            async with httpx.AsyncClient(base_url=http.address, verify=trusting(authority, wrong)) as client:
                with pytest.raises((httpx.TransportError, ssl.SSLError)):
                    await client.get("/")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{http.probe_port}/")).text == "http"


async def test_commands_ask_over_tls(authority, tmp_path):
    put(tmp_path, authority.issue("server", "/CN=server", "serverAuth", NAMES))
    http = http_of(tmp_path, tls_client_ca_file=authority.certificate)
    certificate, key = authority.issue("client", "/CN=client", "clientAuth")
    shown = {"NEXUS_CLIENT_CERTIFICATE_FILE": str(certificate), "NEXUS_CLIENT_KEY_FILE": str(key)}
    trusted = {"NEXUS_CA_FILE": str(authority.certificate)}
    app = create_app(["api"], None, Health(list))
    async with listening(app, None, http, 100, Certificates.of(http)):
        async with httpx.AsyncClient(
            base_url=http.address, verify=trusting(authority, (certificate, key))
        ) as client:
            await until(lambda: client.get("/livez"))

        async def asked(**environment):
            result = await asyncio.to_thread(
                CliRunner().invoke, cli, ["list", "--url", http.address], env=environment
            )
            assert result.exit_code == 1
            return result.output

        # Who is let in is answered: this server has no runs.
        assert "404" in await asked(**trusted, **shown)
        assert "CERTIFICATE_VERIFY_FAILED" in await asked()
        assert "404" not in await asked(**trusted)
    refused(CliRunner().invoke(cli, ["list"], env={"NEXUS_CA_FILE": str(key)}), 2, "NEXUS_CA_FILE")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"tls.crt": None}, "tls.crt cannot be read"),
        ({"tls.key": None}, "tls.key cannot be read"),
        ({"tls.crt": b""}, "tls.crt"),
        ({"tls.key": b"garbage"}, "tls.key"),
        ({"ca.crt": b"garbage"}, "ca.crt has no certificate"),
    ],
)
def test_files_that_cannot_be_used_are_named(authority, tmp_path, changed, named):
    put(tmp_path, authority.issue("server", "/CN=server", "serverAuth", NAMES))
    (tmp_path / "ca.crt").write_bytes(authority.certificate.read_bytes())
    http = http_of(tmp_path, tls_client_ca_file=tmp_path / "ca.crt")
    assert Certificates.of(http) is not None
    for name, content in changed.items():
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=named):
        Certificates.of(http)


def test_half_a_configuration_is_refused():
    assert Certificates.of(Http()) is None
    for given in ("TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"):
        with pytest.raises(ConfigError, match=r"http\.tls_"):
            load(None, {f"NEXUS__HTTP__{given}": "some.pem"})
