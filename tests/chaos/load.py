"""A steady load of submissions, which goes on while servers and roles are away, and waits for a machine that is slower."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import httpx
import msgspec

from tests.e2e.client import NexusClient

__all__ = ["ALGORITHM", "Load", "Sent"]

ALGORITHM = "brief"

_IN_FLIGHT = 64
_WAITING = 300
"""Accepted runs that no algorithm has reported of: with more of them, a new one would take minutes to end."""
_PAUSE = 0.5


class Sent(msgspec.Struct, frozen=True):
    """A submission that was answered 202. `keyed`: it had an `Idempotency-Key`, so it is the only run of its body."""

    number: int
    parameters: dict[str, Any]
    keyed: bool

    @property
    def large(self) -> bool:
        """Too large for the log: its payload is in S3."""
        return len(self.parameters["pad"]) > 1000


class Load:
    """Submits `rate` runs a second, at most. Each is sent again until it is accepted; some are cancelled right after.

    `reported` are the runs whose algorithm ran, as they come to be.
    """

    def __init__(self, nexus: NexusClient, seed: int, rate: float, reported: set[str]) -> None:
        self.accepted: dict[str, Sent] = {}
        self._cancelled: set[str] = set()
        self._reported = reported
        self.unsure = 0
        """Submissions without a key whose answer was lost or said so: each may have made a run that nobody knows."""
        self._nexus = nexus
        self._seed = seed
        self._rate = rate
        self._chance = random.Random(seed)
        self._free = asyncio.Semaphore(_IN_FLIGHT)

    async def run(self, count: int | None = None) -> None:
        """Submit so many, or go on until cancelled; then what was begun is finished."""
        number = 0
        async with asyncio.TaskGroup() as group:
            with suppress(asyncio.CancelledError):
                while count is None or number < count:
                    await self._free.acquire()
                    group.create_task(self._submit(number, self._parameters(number)))
                    number += 1
                    await asyncio.sleep(self._chance.expovariate(self._rate))
                    while len(self.accepted.keys() - self._reported - self._cancelled) > _WAITING:
                        await asyncio.sleep(_PAUSE)

    def _parameters(self, number: int) -> dict[str, Any]:
        # One in twenty payloads is too large for the log.
        return {"number": number, "pad": "x" * (100_000 if self._chance.random() < 0.05 else 100)}

    async def _submit(self, number: int, parameters: dict[str, Any]) -> None:
        keyed, cancelled = self._chance.random() < 0.75, self._chance.random() < 0.05
        headers = {"Idempotency-Key": f"{self._seed}-{number}"} if keyed else {}
        body = {"algorithmParameters": parameters, "tag": f"tag-{number % 10}"}
        try:
            run = await self._accepted(body, headers)
            self.accepted[run] = Sent(number, parameters, keyed)
            if cancelled:
                self._cancelled.add(run)
                await self._cancel(run)
        finally:
            self._free.release()

    async def _accepted(self, body: dict[str, Any], headers: dict[str, str]) -> str:
        while True:
            try:
                answer = await self._nexus.http.post(
                    f"/algorithm/v1/run/{ALGORITHM}", json=body, headers=headers
                )
            except httpx.TransportError:
                self.unsure += not headers
            else:
                if answer.status_code == 202:
                    return str(answer.json()["requestId"])
                assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
                self.unsure += not headers
            await asyncio.sleep(_PAUSE)

    async def _cancel(self, run: str) -> None:
        while True:
            with suppress(httpx.TransportError):
                answer = await self._nexus.cancel(ALGORITHM, run)
                if answer.status_code == 200:
                    return
                # 404 would mean that an accepted run is not there.
                assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
            await asyncio.sleep(_PAUSE)
