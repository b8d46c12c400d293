"""What a path names is what was sent, decoded once: every accepted tag, name and id is read back by exactly itself."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.paths import encoded_path
from nexus.client import Client
from tests.streams.conftest import run_id

TAGS = [
    "v1",
    "v1/",
    "/v1",
    "team/a",
    "team%2Fa",
    "a/b/../c",
    "..",
    ".",
    "%",
    "%25",
    "100%",
    "a b",
    " a ",
    "a+b",
    "a?b=c#d",
    "a;b",
    "ключ",
    "\N{GRINNING FACE}",
    "requests",
    "//",
    "a//b",
    "\\",
    "x" * 1024,
]


async def test_every_tag_is_read_back_by_exactly_itself(api):
    runs = {tag: await api.submit(tag=tag) for tag in TAGS}
    for tag, run in runs.items():
        for prefix in ("/algorithm/v1", "/algorithm"):
            answer = await api.http.get(f"{prefix}/results/tags/{_segment(tag)}")
            assert answer.status_code == 200, tag
            assert [found["requestId"] for found in answer.json()] == [run], tag


async def test_a_tag_that_was_changed_is_read_back_by_exactly_itself(api):
    run = await api.submit(tag="old")
    path = f"/algorithm/v1/metadata/tags/quick/requests/{run}"
    assert (await api.http.post(path, json={"newTag": "new/tag"})).status_code == 200
    await api.row(run)
    assert (await api.http.get("/algorithm/v1/results/tags/new")).json() == []
    [found] = (await api.http.get("/algorithm/v1/results/tags/new%2Ftag")).json()
    assert found["requestId"] == run


@pytest.mark.parametrize("name", ["quick%2F", "%2Fquick", "quick%00", "quick%20", "qu%69ck%2Frequests"])
async def test_a_name_with_something_to_it_is_another(api, name):
    run = await api.submit()
    for path in ("results", "metadata", "buffer", "payload", "check"):
        answer = await api.http.get(f"/algorithm/v1/{path}/{name}/requests/{run}")
        assert answer.status_code == 404, path
    assert (await api.http.get(f"/api/v1/runs/{run}%2F")).status_code == 400
    assert (
        await api.http.post(f"/algorithm/v1/run/{name}", json={"algorithmParameters": {}})
    ).status_code == 400


async def test_an_escape_that_was_not_needed_changes_nothing(api):
    run = await api.submit(tag="a-b")
    for path in (
        f"/algorithm/v1/results/%71uick/requests/{run}",
        f"/%61lgorithm/v1/results/quick/requests/{run.replace('-', '%2D')}",
        "/algorithm/v1/results/tags/a%2db",
    ):
        assert (await api.http.get(path)).status_code == 200, path


@pytest.mark.parametrize("path", ["/algorithm/v1/results/tags/%ff", "/api/v1/runs/%ff", "/docs/assets/%ff"])
async def test_what_is_no_utf8_is_the_name_of_nothing(api, path):
    assert (await api.http.get(path)).status_code == 404


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=4
    )
)
def test_any_segments_are_kept_apart(segments):
    sent = "/" + "/".join(quote(segment, safe="") for segment in segments)
    assert [unquote(segment) for segment in encoded_path(sent).split("/")[1:]] == segments
    assert encoded_path(encoded_path(sent)) == encoded_path(sent)


def test_the_client_sends_a_name_as_one_segment(monkeypatch):
    sent = []

    def request(_, method, path, **rest):
        sent.append(path)
        raise RuntimeError

    monkeypatch.setattr("httpx.Client.request", request)
    with Client("http://nexus.test") as client, pytest.raises(RuntimeError):
        client.cancel("a/b%2F", run_id(1))
    assert sent == [f"/algorithm/v1/cancel/a%2Fb%252F/requests/{run_id(1)}"]


@pytest.mark.parametrize(
    "name",
    [
        "%00",
        "a%00b",
        "x" * 300,
        "x" * 5000,
        "..%2f..%2fopenapi.py",
        "%2e%2e",
        "%2F",
        "absent.js",
        "~",
        "é",
    ],
)
async def test_an_asset_that_is_not_there_is_404(api, name):
    answer = await api.http.get(f"/docs/assets/{name}")
    assert answer.status_code == 404


async def test_the_page_finds_its_assets(api):
    page = (await api.http.get("/docs")).text
    for asset in ("swagger-ui.css", "favicon-32x32.png", "swagger-ui-bundle.js"):
        assert f"/docs/assets/{asset}" in page
        answer = await api.http.get(f"/docs/assets/{asset}")
        assert (answer.status_code, len(answer.content) > 100) == (200, True)
    assert answer.headers["content-type"].split(";")[0] in {"text/javascript", "application/javascript"}


def _segment(tag: str) -> str:
    """Dots alone would be taken for steps up the path by clients; to servers `%2E` is the same."""
    return quote(tag, safe="") if tag.strip(".") else "%2E" * len(tag)
