"""A submission that got no certain answer: the client is told so, and the run does not go on behind its back."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest

from api.app import create_app
from api.context import ApiContext
from api.health import Health
from nexus.domain.errors import OutcomeUnknown
from nexus.domain.run import Stage
from nexus.domain.topics import NewRecord
from nexus.journal import Journal
from tests.streams.conftest import Installation, run_id


class Forgetful:
    """A log whose answers are lost, after what was to be appended was, or before."""

    def __init__(self, installation: Installation, *, appends: bool) -> None:
        self._log = installation.log
        self._appends = appends

    async def append(self, records: Sequence[NewRecord]) -> list[object]:
        if self._appends:
            await self._log.append(records)
        raise OutcomeUnknown("the connection was lost")


@pytest.fixture
def submit(installation, tmp_path):
    """Sends a submission to an API with that log, and gives its answer."""

    async def send(log: Forgetful, **headers: str) -> httpx.Response:
        context = installation.api_context(
            tmp_path,
            journal=Journal(log, "tests"),
            spawn=lambda work: installation.spawn(_with(context, installation, work)),
        )
        app = create_app(["api"], context, Health(list))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://nexus.test"
        ) as client:
            answer = await client.post(
                "/algorithm/v1/run/quick", json={"algorithmParameters": {}}, headers=headers
            )
        context.claims.close()
        return answer

    return send


async def _with(context: ApiContext, installation: Installation, work) -> None:
    """What goes on after the answer has the log back."""
    context.journal._log = installation.log
    await work


async def test_a_run_that_was_never_acknowledged_is_cancelled(installation, submit):
    installation.start_ledger()
    answer = await submit(Forgetful(installation, appends=True))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    row = await installation.reaches(run_id(1), lambda run: run.ended)
    assert row.stage is Stage.CANCELLED
    assert "503" in row.diagnosis.details


async def test_a_run_that_never_was_is_left_alone(installation, submit):
    installation.start_ledger()
    assert (await submit(Forgetful(installation, appends=False))).status_code == 503
    await installation.caught_up()
    assert await installation.said() == []


async def test_a_claimed_run_goes_on(installation, submit):
    """The client has a key with which it can ask again."""
    installation.start_ledger()
    answer = await submit(Forgetful(installation, appends=True), **{"Idempotency-Key": "mine"})
    assert answer.status_code == 503
    await installation.reaches(run_id(1), lambda run: True)
    await installation.caught_up()
    assert await installation.said() == []
