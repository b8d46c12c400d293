"""What a client does with a Nexus, over HTTP."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx


class NexusClient:
    """What a client does with a Nexus, over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.AsyncClient(base_url=url, timeout=30)

    @staticmethod
    async def until(condition: Callable[[], Any], seconds: float = 60, pause: float = 0.02) -> Any:
        """Wait for an async condition to be true, and give what it gave. A `pause` is the seconds between two looks."""
        deadline = time.monotonic() + seconds
        while not (result := await condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
            await asyncio.sleep(pause)
        return result

    async def until_none(
        self, waiting: Callable[[], Awaitable[set[str]]], seconds: float, pause: float = 1
    ) -> None:
        """Until no run is waiting, however slow the machine is, as long as they become fewer within `seconds`."""
        runs: set[str] = set()
        left, fewer_at = math.inf, time.monotonic()
        while True:
            with suppress(httpx.TransportError, KeyError):
                if not (runs := await waiting()):
                    return
                if len(runs) < left:
                    left, fewer_at = len(runs), time.monotonic()
            # Also where nobody answers any more.
            if time.monotonic() - fewer_at > seconds:
                known = [(await self.run(run), await self.events(run)) for run in sorted(runs)[:1]]
                raise AssertionError(f"{left} runs wait, no fewer since {seconds} s, such as {known}")
            # A list of all runs is work for the machine that the runs wait for.
            await asyncio.sleep(pause)

    async def submit(self, algorithm: str, parameters: dict[str, Any] | None = None, **members: Any) -> str:
        query = "?dryRun=true" if members.pop("dry_run", False) else ""
        body = {"algorithmParameters": parameters or {}, **members}
        answer = await self.http.post(f"/algorithm/v1/run/{algorithm}{query}", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["requestId"]

    async def run(self, request_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/v1/runs/{request_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, request_id: str, seconds: float = 60) -> dict[str, Any]:
        return await self.reached(request_id, "ended", seconds)

    async def reached(self, request_id: str, state: str, seconds: float = 60) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            run = await self.run(request_id)
            return run if run["state"] == state else None

        try:
            return await self.until(there, seconds)
        except AssertionError:
            raise AssertionError(
                f"not {state} within {seconds} s: {await self.run(request_id)}, {await self.events(request_id)}"
            ) from None

    async def collected(self, request_id: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            run = await self.run(request_id)
            return run if run["collectedAt"] else None

        return await self.until(there)

    async def events(self, request_id: str) -> list[dict[str, Any]]:
        return (await self.http.get(f"/api/v1/runs/{request_id}/events")).json()["events"]

    async def event_types(self, request_id: str) -> list[str]:
        return [event["type"] for event in await self.events(request_id)]

    async def cancel(self, algorithm: str, request_id: str, **members: Any) -> httpx.Response:
        body = {"initiator": "tests", "reason": "enough", **members}
        return await self.http.post(f"/algorithm/v1/cancel/{algorithm}/requests/{request_id}", json=body)

    async def all_runs(self, **query: str) -> AsyncIterator[dict[str, Any]]:
        cursor = ""
        while True:
            page = (
                await self.http.get(
                    "/api/v1/runs", params={"limit": 1000, **query, **({"cursor": cursor} if cursor else {})}
                )
            ).json()
            for run in page["runs"]:
                yield run
            if not (cursor := page["cursor"] or ""):
                return
