"""The HTTP API in this process: its application on embedded engines with a ledger, asked without a socket."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import ROUTES, create_app
from api.health import Health
from nexus.domain.run import Run
from tests.streams.conftest import Installation, run_id

__all__ = ["Api"]


class Api:
    """`http` asks it; `installation` shows what came of it. Runs are numbered from 1."""

    def __init__(self, installation: Installation, folder: Path, **fields: Any) -> None:
        numbers = itertools.count(1)
        new_id = {"new_id": lambda: run_id(next(numbers))}
        self.installation = installation
        self.services = installation.api_context(folder, **new_id | {"max_body": 32 * 1024**2} | fields)
        self.app = create_app(list(ROUTES), self.services, Health(list))
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://nexus.test"
        )

    async def close(self) -> None:
        await self.http.aclose()
        self.services.claims.close()

    async def submit(self, algorithm: str = "quick", **members: Any) -> str:
        """The id of a new run, once it is in the projections."""
        body = {"algorithmParameters": {}} | members
        answer = await self.http.post(f"/algorithm/v1/run/{algorithm}", json=body)
        assert answer.status_code == 202, answer.text
        run = answer.json()["requestId"]
        await self.installation.reaches(run, lambda row: True)
        return run

    async def row(self, run: str) -> Run:
        await self.installation.caught_up()
        row = await self.installation.store.get(run)
        assert row is not None
        return row


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    installation = Installation(tmp_path)
    installation.start_ledger()
    yield installation
    await installation.close()


@pytest.fixture
async def api(installation: Installation, tmp_path: Path) -> AsyncIterator[Api]:
    api = Api(installation, tmp_path)
    yield api
    await api.close()
