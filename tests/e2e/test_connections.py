"""Connections: thousands may be open, whoever stalls is cut off, and nobody is kept waiting by others."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing

import httpx
import pytest
import pytest_asyncio

from tests.e2e.nexus_process import NexusProcess, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

HALF_A_HEADER = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"
WHOLE = HALF_A_HEADER + b"\r\n"
HALF_A_BODY = (
    b"POST /algorithm/v1/run/quick HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
    b'{"algorithmParameters":'
)
CHUNKED = b"POST /algorithm/v1/run/quick HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENT = {"http__header_timeout": "10m", "http__body_timeout": "10m"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def patient(tmp_path_factory):
    """It waits for as long as the tests take."""
    process = NexusProcess(tmp_path_factory.mktemp("patient"), **PATIENT)
    await process.start()
    yield process
    await process.http.aclose()
    process.kill()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hasty(tmp_path_factory):
    """It closes what stops."""
    probes = free_port()
    process = NexusProcess(
        tmp_path_factory.mktemp("hasty"),
        http__header_timeout="500ms",
        http__body_timeout="500ms",
        http__probe_port=str(probes),
    )
    process.probes = probes
    await process.start()
    yield process
    await process.http.aclose()
    process.kill()


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


async def test_whoever_holds_connections_open_shuts_nobody_out(patient):
    with ExitStack() as held:
        for sent in (b"", HALF_A_HEADER, HALF_A_BODY, WHOLE):
            for _ in range(400):
                held.enter_context(connect(patient.port, sent))
        async with httpx.AsyncClient(base_url=patient.url, timeout=30) as other:
            assert (await other.get("/livez")).status_code == 200
            submitted = await other.post("/algorithm/v1/run/quick", json={"algorithmParameters": {}})
            assert submitted.status_code == 202


@pytest.mark.parametrize(
    "sent", [b"", HALF_A_HEADER, b"PRI * HT"], ids=["nothing", "half a header", "half of HTTP/2"]
)
async def test_a_connection_that_does_not_ask_is_closed(hasty, sent):
    with closing(connect(hasty.port, sent)) as connection:
        assert answer(connection) == b""


async def test_a_connection_that_asks_no_more_is_closed(hasty):
    with closing(connect(hasty.port, WHOLE)) as connection:
        assert answer(connection).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_that_stops_is_answered_and_its_connection_closed(hasty):
    with closing(connect(hasty.port, HALF_A_BODY)) as connection:
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"text/plain" in said


@pytest.mark.parametrize("sent", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\nzz\r\n", b"2\r\n{}garbage"])
async def test_bad_framing_of_chunks_is_a_bad_request(hasty, sent):
    with closing(connect(hasty.port, CHUNKED + sent)) as connection:
        assert answer(connection).startswith(b"HTTP/1.1 400 ")


async def test_probes_have_a_port_of_their_own(hasty):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{hasty.probes}") as probing:
        assert (await probing.get("/livez")).status_code == 200
        assert (await probing.get("/readyz")).status_code == 200
        assert (await probing.get("/metrics")).status_code == 200
        assert (await probing.get("/api/v1/runs")).status_code == 404


async def test_probes_are_answered_while_no_more_connections_are_held_and_nobody_keeps_it_from_stopping(
    tmp_path,
):
    probes = free_port()
    process = NexusProcess(tmp_path, **PATIENT, http__max_connections="4", http__probe_port=str(probes))
    await process.start()
    await process.http.aclose()
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(connect(process.port, HALF_A_HEADER))
        with closing(connect(process.port, WHOLE)) as waiting:
            waiting.settimeout(0)
            assert httpx.get(f"http://127.0.0.1:{probes}/livez").status_code == 200
            with pytest.raises(BlockingIOError):
                waiting.recv(1)
            held.close()
            waiting.settimeout(60)
            assert waiting.recv(12) == b"HTTP/1.1 200"
    with ExitStack() as held:
        for sent in (b"", HALF_A_HEADER, HALF_A_BODY, WHOLE):
            held.enter_context(connect(process.port, sent))
        assert process.stop() == 0
