"""Signed payload addresses answer as an object store does, for payloads in the log and in the store."""

from __future__ import annotations

import random

import httpx
import pytest
import pytest_asyncio

from api.contract.ranges import select
from nexus.domain.payload import payload_key
from tests.api.conftest import Api
from tests.streams.conftest import Installation

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL = b'{"n": 9007199254740993, "text": "abc"}'
LARGE = b'{"text": "' + random.Random(1).randbytes(10_000_000).hex().encode() + b'"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory):
    """All share it, since a payload stays as it is."""
    folder = tmp_path_factory.mktemp("payloads")
    installation = Installation(folder)
    installation.start_ledger()
    api = Api(installation, folder)
    yield api
    await api.close()
    await installation.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["inline", "stored", "in pieces"])
async def payload(request, api):
    """The bytes, and the signed address."""
    body = {"inline": SMALL, "stored": SMALL[:-1] + b" " * 5000 + b"}", "in pieces": LARGE}[request.param]
    answer = await api.http.post("/algorithm/v1/run/quick", content=b'{"algorithmParameters":%b}' % body)
    assert answer.status_code == 202, answer.text
    run = answer.json()["requestId"]
    await api.installation.reaches(run, lambda row: True)
    stored = await api.services.payloads.get(payload_key("quick", run))
    assert stored == (None if request.param == "inline" else body)
    moved = await api.http.get(f"/algorithm/v1/payload/quick/requests/{run}")
    return body, httpx.URL(moved.headers["location"])


async def test_the_whole(api, payload):
    body, address = payload
    answer = await api.http.get(address)
    assert (answer.status_code, answer.content == body) == (200, True)
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')


async def test_head_says_the_same_without_the_body(api, payload):
    _, address = payload
    whole, head = await api.http.get(address), await api.http.head(address)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "accept-ranges"):
        assert head.headers[name] == whole.headers[name], name
    part = await api.http.head(address, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content, part.headers["content-length"]) == (206, b"", "3")


@pytest.mark.parametrize(
    "asked", ["0-0", "0-9", "5-", "-7", "1-999999999999", "0-", "-999999999999", "3-9000000"]
)
async def test_a_range(api, payload, asked):
    body, address = payload
    first, _, last = asked.partition("-")
    start = int(first) if first else max(len(body) - int(last), 0)
    stop = min(int(last) + 1, len(body)) if first and last else len(body)
    answer = await api.http.get(address, headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content == body[start:stop]) == (206, True)
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(body)}"
    assert answer.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999999-999999999", "bytes=-0"])
async def test_a_range_of_which_nothing_is_there(api, payload, asked):
    body, address = payload
    answer = await api.http.get(address, headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"], answer.content) == (
        416,
        f"bytes */{len(body)}",
        b"",
    )


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=5-2", "bytes=-", "bytes=a-b", "lines=0-1", "", "bytes", "bytes=1"]
)
async def test_what_is_no_single_range_is_answered_with_all(api, payload, asked):
    body, address = payload
    answer = await api.http.get(address, headers={"Range": asked})
    assert (answer.status_code, answer.content == body) == (200, True)


async def test_conditions(api, payload):
    _, address = payload
    etag = (await api.http.head(address)).headers["etag"]
    for condition, status in (
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f'"other", W/{etag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Match": etag}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"Range": "bytes=0-1", "If-Range": etag}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": "Thu, 01 Jan 2026 00:00:00 GMT"}, 200),
        ({"Range": "bytes=0-1", "If-None-Match": etag}, 304),
    ):
        for method in ("GET", "HEAD"):
            answer = await api.http.request(method, address, headers=condition)
            assert (answer.status_code, answer.headers["etag"]) == (status, etag), condition
            if method == "HEAD" or status in {304, 412}:
                assert answer.content == b""


async def test_head_of_what_is_not_there_or_not_signed(api, payload):
    _, address = payload
    unsigned = address.copy_with(query=None)
    assert (await api.http.head(unsigned)).status_code == 403
    assert (await api.http.get(unsigned, headers={"Range": "bytes=0-1"})).status_code == 403


async def test_a_payload_that_was_swept_up_is_404(api):
    body = b'{"algorithmParameters":{"a":"%b"}}' % (b"x" * 5000)
    run = (await api.http.post("/algorithm/v1/run/quick", content=body)).json()["requestId"]
    await api.installation.reaches(run, lambda row: True)
    moved = await api.http.get(f"/algorithm/v1/payload/quick/requests/{run}")
    await api.services.payloads.delete(payload_key("quick", run))
    for headers in ({}, {"Range": "bytes=0-1"}):
        assert (await api.http.get(moved.headers["location"], headers=headers)).status_code == 404
        assert (await api.http.head(moved.headers["location"], headers=headers)).status_code == 404


async def test_a_range_reads_no_more_than_itself(api, monkeypatch):
    run = (
        await api.http.post("/algorithm/v1/run/quick", content=b'{"algorithmParameters":%b}' % LARGE)
    ).json()["requestId"]
    await api.installation.reaches(run, lambda row: True)
    moved = await api.http.get(f"/algorithm/v1/payload/quick/requests/{run}")
    read = []
    part = api.services.payloads.part

    async def counted(key, start, size):
        read.append((start, size))
        return await part(key, start, size)

    monkeypatch.setattr(api.services.payloads, "part", counted)
    await api.http.get(moved.headers["location"], headers={"Range": "bytes=100-199"})
    assert read == [(100, 100)]


async def test_numbers_without_end_are_no_range():
    assert select({"range": "bytes=" + "9" * 5000 + "-"}, '"e"', 10).status == 200
