"""Requests that a browser makes for a page of somebody else."""

from __future__ import annotations

import pytest

from api.origins import Origins
from nexus.domain.topics import requests_of
from tests.api.conftest import Api
from tests.support.factories import CLUSTER

LOOPBACK = Origins.of("127.0.0.1", "", ())
INSTALLED = Origins.of("0.0.0.0", "https://nexus.example.com", ["https://tools.example.com/"])


@pytest.mark.parametrize(
    "host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST", "127.0.0.1", ""]
)
def test_the_loopback_is_asked_by_its_names(host):
    assert LOOPBACK.refusal(host, "") == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "[",
        "::1",
        "0",
    ],
)
def test_another_name_of_the_loopback_is_refused(host):
    assert "http.external_url" in LOOPBACK.refusal(host, "")


def test_the_external_name_of_a_server_on_the_loopback_is_its_own():
    origins = Origins.of("::1", "https://nexus.example.com", ())
    assert origins.refusal("nexus.example.com", "https://nexus.example.com") == ""
    assert origins.refusal("other.example.com", "")


def test_a_server_for_others_is_asked_by_any_name():
    assert INSTALLED.refusal("10.1.2.3:8080", "") == ""


@pytest.mark.parametrize(
    "origin",
    [
        "https://nexus.example.com",
        "https://tools.example.com",
        "https://tools.example.com:443",
        "http://10.1.2.3:8080",
    ],
)
def test_its_own_origin_and_those_configured_may_ask(origin):
    assert INSTALLED.refusal("10.1.2.3:8080", origin) == ""


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "http://tools.example.com",
        "https://tools.example.com.evil.example",
        "http://10.1.2.3",
    ],
)
def test_any_other_origin_is_refused(origin):
    assert "http.allowed_origins" in INSTALLED.refusal("10.1.2.3:8080", origin)


@pytest.fixture
async def loopback(installation, tmp_path):
    api = Api(installation, tmp_path, origins=LOOPBACK)
    api.http.base_url = "http://127.0.0.1:8080"
    yield api
    await api.close()


async def test_a_page_of_somebody_else_cannot_submit(loopback):
    """What a browser sends without asking first: text/plain, with the page's origin."""
    for origin in ("https://evil.example", "null", "http://localhost:3000"):
        answer = await loopback.http.post(
            "/algorithm/v1/run/quick",
            content=b'{"algorithmParameters":{}}',
            headers={"Origin": origin, "Content-Type": "text/plain"},
        )
        assert (answer.status_code, answer.headers["content-type"]) == (403, "text/plain; charset=utf-8")
        assert "http.allowed_origins" in answer.text
        assert "access-control-allow-origin" not in answer.headers
    assert await loopback.installation.said(requests_of(CLUSTER)) == []


async def test_a_name_that_was_made_to_lead_here_cannot_read(loopback):
    answer = await loopback.http.get("/api/v1/runs", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


async def test_programs_and_our_own_page_are_not_concerned(loopback):
    body = {"algorithmParameters": {}}
    for headers in ({}, {"Origin": "http://127.0.0.1:8080"}):
        answer = await loopback.http.post("/algorithm/v1/run/quick", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
    assert (await loopback.http.get("/livez")).status_code == 200


async def test_an_origin_that_is_configured_may_read_the_answer(installation, tmp_path):
    api = Api(installation, tmp_path, origins=INSTALLED)
    headers = {"Origin": "https://tools.example.com"}
    answer = await api.http.get("/api/v1/runs", headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (
        200,
        "https://tools.example.com",
    )
    asked = await api.http.options(
        "/algorithm/v1/run/quick",
        headers=headers
        | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"},
    )
    assert asked.headers["access-control-allow-origin"] == "https://tools.example.com"
    await api.close()
