"""`/readyz`: what keeps a role from all of its work is a 503, what keeps it from some of it is a remark."""

from __future__ import annotations

import httpx
import pytest

from api.app import create_app
from api.health import Health, Unable


@pytest.mark.parametrize(
    ("unable", "status", "lines"),
    [
        (Unable(), 200, ["ok"]),
        (Unable(partly=["one is away"]), 200, ["one is away"]),
        (Unable(["no log"], ["one is away"]), 503, ["no log", "one is away"]),
    ],
    ids=["able", "partly", "wholly"],
)
async def test_a_role_is_ready_for_as_long_as_it_can_do_some_of_its_work(unable, status, lines):
    async def what() -> Unable:
        return unable

    app = create_app(["scheduler"], None, Health(list, what))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://nexus") as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.text.splitlines()) == (status, lines)
