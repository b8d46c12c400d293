"""A cluster that is not heard: whoever looks at its runs is told since when."""

from __future__ import annotations

from datetime import datetime, timedelta

import httpx
import pytest

from api.app import create_app
from api.health import Health
from tests.streams.conftest import Installation, run_id
from tests.support.factories import cancelled


@pytest.fixture
async def http(installation, tmp_path):
    """With a ledger and a reconciler that follow."""
    installation.start_ledger()
    installation.spawn(installation.reconciler().run(timedelta(milliseconds=10)))
    services = installation.api_context(tmp_path)
    transport = httpx.ASGITransport(create_app(["api"], services, Health(list)))
    async with httpx.AsyncClient(transport=transport, base_url="http://nexus.test") as client:
        yield client
    services.claims.close()


async def unheard(installation: Installation, http: httpx.AsyncClient, number: int) -> datetime | None:
    """What one run says, and what it says in the list of all."""
    one = (await http.get(f"/api/v1/runs/{run_id(number)}")).json()
    [same] = [
        run for run in (await http.get("/api/v1/runs")).json()["runs"] if run["requestId"] == one["requestId"]
    ]
    assert one["unheardSince"] == same["unheardSince"]
    return one["unheardSince"] and datetime.fromisoformat(one["unheardSince"])


async def test_runs_say_since_when_their_cluster_has_not_been_heard(installation, http):
    await installation.placed(1)
    await installation.queued(2)
    await installation.placed(3)
    await installation.say(cancelled(request_id=run_id(3)))
    await installation.reaches(run_id(3), lambda run: run.ended)
    assert await unheard(installation, http, 1) is None
    installation.cluster.away = True
    # Whoever was answered just before has noted it by then.
    await installation.until(lambda: installation.cluster.unanswered)
    installation.clock.advance(60)
    [heard] = await installation.store.contacts()
    assert await unheard(installation, http, 1) == heard.at
    assert await unheard(installation, http, 2) == heard.at
    assert await unheard(installation, http, 3) is None
    installation.cluster.away = False

    async def told_of() -> bool:
        return (await installation.store.contacts())[0].at > heard.at

    await installation.until(told_of)
    assert await unheard(installation, http, 1) is None
    assert not (await installation.store.get(run_id(1))).ended
