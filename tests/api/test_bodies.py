"""Bodies that are no JSON, or not what was asked for: the contract's error on every path that takes one."""

from __future__ import annotations

import pytest

from tests.streams.conftest import run_id

RUN = run_id(1)
HALF_A_PAIR = "half a pair"
PATHS = {
    "run/quick": "Algorithm payload is invalid: ",
    f"complete/quick/requests/{RUN}": "Submitted result is invalid: ",
    f"cancel/quick/requests/{RUN}": "Cancellation payload is invalid: ",
    f"metadata/tags/quick/requests/{RUN}": "Invalid tag update request: ",
}
BODIES = {
    "empty": b"",
    "cut": b'{"reason":',
    "an array": b"[]",
    "deep": b'{"a":' * 50_000,
    "deep in a list": b'{"resultUri":' + b"[" * 50_000,
    "no UTF-8": b'{"resultUri":"\xff","reason":"\xff","newTag":"\xff","algorithmParameters":{},"tag":"\xff"}',
    HALF_A_PAIR: rb'{"resultUri":"\ud800","reason":"\ud800","newTag":"\ud800","algorithmParameters":"\ud800"}',
    "binary": b"\x00\xff\xfe",
}


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_cannot_be_read_is_refused(api, path):
    await api.submit()
    # A report that has one is mended rather than lost.
    for name, body in BODIES.items():
        if name == HALF_A_PAIR and path.startswith("complete"):
            continue
        answer = await api.http.post(f"/algorithm/v1/{path}", content=body)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.startswith(PATHS[path]), name
        assert len(answer.text) < 500, name
    assert await api.installation.said() == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (rb"\ud800", rb"\ud800"),
        (rb"ab\udc00", rb"\udc00"),
        (rb"\ud83d\ude00\uD800\u0041", rb"\uD800"),
        (rb"\\\udfff", rb"\udfff"),
        (rb"\ud800\ud800\udc00", rb"\ud800"),
        (rb"\\ud83d\ude00", rb"\ude00"),
    ],
)
async def test_an_unpaired_surrogate_escape_is_named_with_its_place(api, text, named):
    body = b'{"algorithmParameters":{"a":"%b"}}' % text
    answer = await api.http.post("/algorithm/v1/run/quick", content=body)
    assert answer.status_code == 400
    assert f"unpaired surrogate escape {named.decode()} at byte {body.index(named)}" in answer.text


@pytest.mark.parametrize("text", [rb"\ud83d\ude00", rb"\\ud800", rb"\\\\udc00"])
async def test_pairs_and_escaped_backslashes_pass(api, text):
    body = b'{"algorithmParameters":{"a":"%b"}}' % text
    assert (await api.http.post("/algorithm/v1/run/quick", content=body)).status_code == 202


async def test_null_is_unset_in_every_body(api):
    run = await api.submit()
    body = {"reason": None, "initiator": None, "cancellationPolicy": None}
    assert (await api.http.post(f"/algorithm/v1/cancel/quick/requests/{run}", json=body)).status_code == 200
    assert (await api.row(run)).stage == "CANCELLED"


async def test_an_unfinished_run_is_read_once_before_and_once_after_the_wait(api, monkeypatch):
    run = await api.submit()
    reads = []
    get = api.installation.store.get

    async def counted(request_id):
        reads.append(request_id)
        return await get(request_id)

    monkeypatch.setattr(api.installation.store, "get", counted)
    answer = await api.http.get(f"/algorithm/v1/results/quick/requests/{run}")
    assert (answer.json()["status"], len(reads)) == ("BUFFERED", 2)
    await api.http.post(f"/algorithm/v1/cancel/quick/requests/{run}", json={})
    await api.row(run)
    reads.clear()
    answer = await api.http.get(f"/algorithm/v1/results/quick/requests/{run}")
    assert (answer.json()["status"], len(reads)) == ("CANCELLED", 1)
