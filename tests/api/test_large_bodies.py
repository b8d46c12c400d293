"""Submissions of any size: the payload is kept as it was sent, and little of it is in memory at a time."""

from __future__ import annotations

import gzip

import pytest

from api.bodies.intake import BodyLimits
from nexus.domain.payload import content_hash, payload_key
from nexus.ports import PIECE
from tests.api.conftest import Api

RUN = "/algorithm/v1/run/quick"


def payload(size: int) -> bytes:
    """Of about that size, written as nobody would encode it anew."""
    return b'{"a": [%b0]}' % b"".join(b"%7d,  " % number for number in range(size // 10))


def body(parameters: bytes, more: bytes = b"") -> bytes:
    return b'{ "algorithmParameters" : ' + parameters + b" " + more + b"}"


@pytest.mark.parametrize("size", [0, 60_000, 100_000, 1_000_000, PIECE + 1, 2 * PIECE + 1])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_payload_is_kept_byte_for_byte(api: Api, size: int, encoding: str) -> None:
    parameters = payload(size)
    sent = body(parameters, b', "tag": "t"')
    if encoding == "gzip":
        sent = gzip.compress(sent)
    answer = await api.http.post(RUN, content=sent, headers={"Content-Encoding": encoding})
    assert answer.status_code == 202, answer.text
    run = answer.json()["requestId"]
    row = await api.row(run)
    kept = await api.installation.store.payload(run) or await api.services.payloads.get(
        payload_key("quick", run)
    )
    assert kept == parameters
    assert row.request.content_hash == content_hash(parameters)
    assert (row.request.payload_size, row.tag) == (len(parameters), "t")


async def test_no_piece_of_a_large_payload_is_larger_than_was_agreed(api: Api, monkeypatch) -> None:
    pieces = []
    put_pieces = api.services.payloads.put_pieces

    async def counted(key, given):
        async def noted():
            async for piece in given:
                pieces.append(len(piece))
                yield piece

        return await put_pieces(key, noted())

    monkeypatch.setattr(api.services.payloads, "put_pieces", counted)
    parameters = payload(2 * PIECE + 1)
    assert (await api.http.post(RUN, content=body(parameters))).status_code == 202
    assert pieces == [PIECE, PIECE, len(parameters) - 2 * PIECE]


async def test_the_same_large_body_under_one_key_is_one_run(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    sent = body(payload(1_000_000))
    first = await api.http.post(RUN, content=sent, headers=headers)
    again = await api.http.post(RUN, content=sent, headers=headers)
    assert first.json() == again.json()
    assert len(await api.services.payloads.stored("", 10)) == 1
    other = await api.http.post(RUN, content=body(payload(1_000_100)), headers=headers)
    assert (other.status_code, "Idempotency-Key" in other.text) == (400, True)


@pytest.mark.parametrize(
    "sent",
    [
        body(payload(1_000_000))[:-1],
        body(payload(1_000_000)) + b"{}",
        body(payload(1_000_000).replace(b"0]", b'"\xff"]')),
        body(payload(1_000_000), b', "tag": 1'),
        body(b"[" * 1_000_000),
    ],
    ids=["cut", "trailing", "no UTF-8", "a tag that is none", "deep"],
)
async def test_a_large_body_that_is_wrong_is_refused_and_leaves_nothing(api: Api, sent: bytes) -> None:
    answer = await api.http.post(RUN, content=sent)
    assert (answer.status_code, answer.text[:30]) == (400, "Algorithm payload is invalid: ")
    assert await api.services.payloads.stored("", 10) == []


async def test_bodies_beyond_what_is_configured_are_refused_with_when_to_come_again(
    installation, tmp_path
) -> None:
    api = Api(installation, tmp_path, bodies=BodyLimits(memory=1_000_000, disk=500_000))
    refused = await api.http.post(RUN, content=body(payload(600_000)))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.headers["content-type"] == "text/plain; charset=utf-8"
    assert "http.body_disk" in refused.text
    assert (await api.http.post(RUN, content=body(payload(400_000)))).status_code == 202
    await api.close()


@pytest.mark.parametrize("path", ["run/quick", "cancel/quick/requests/x", "complete/quick/requests/x"])
async def test_an_encoding_that_is_not_understood_is_a_sentence(api: Api, path: str) -> None:
    answer = await api.http.post(f"/algorithm/v1/{path}", content=b"{}", headers={"Content-Encoding": "br"})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "text/plain; charset=utf-8")
    assert "send gzip, or none" in answer.text


async def test_reports_may_be_compressed(api: Api) -> None:
    run = await api.submit()
    report = gzip.compress(b'{"resultUri":"s3a://x"}')
    path = f"/algorithm/v1/complete/quick/requests/{run}"
    assert (
        await api.http.post(path, content=report, headers={"Content-Encoding": "gzip"})
    ).status_code == 202
    assert (await api.row(run)).result_uri == "s3a://x"
