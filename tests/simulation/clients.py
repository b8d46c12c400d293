"""Clients: they submit, send again what was not answered, cancel, tag, read and remember what they were told."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from nexus.domain.events import DeletionPolicy
from tests.simulation.chance import Chance
from tests.simulation.http import Answer, Http
from tests.simulation.installation import INLINE, Installation
from tests.simulation.templates import ALGORITHMS
from tests.simulation.tenants import HOLDERS

__all__ = ["Clients"]

_POLICIES = tuple(DeletionPolicy)


class Clients:
    """`accepted` are the runs that were answered 202, by id with their algorithm; `lies` what cannot be true."""

    def __init__(self, installation: Installation, chance: Chance) -> None:
        self._http: Http = installation.http
        self._chance = chance
        self._installation = installation
        self.accepted: dict[str, str] = {}
        self.holders: dict[str, str] = {}
        """Who submitted each run that was accepted."""
        self.sent: dict[str, bytes] = {}
        """The payload of each run that was accepted, as it was sent."""
        self.busy = 0
        self.lies: list[str] = []

    def begin(self, runs: int, seconds: float) -> None:
        """Have so many runs submitted within the time."""
        for _ in range(runs):
            self.busy += 1
            self._installation.loop.create_task(self._one(self._chance.between(0.0, seconds)))

    async def crowd(self, holder: str, runs: int) -> list[str]:
        """The runs of so many submissions at once that were accepted, of the same algorithm."""
        body = b'{"algorithmParameters": {}}'
        sent = [self._submit(ALGORITHMS[0], body, "", "", holder) for _ in range(runs)]
        return [run for run in await asyncio.gather(*sent) if run]

    async def ask_for(self, path: str) -> bool:
        """Whether a change of the operators was answered as done. It is asked for until it is, or refused."""
        for _ in range(10):
            answer = await self._http.call("POST", path, b"{}")
            if answer and answer.status != 503:
                return answer.status < 300
            await asyncio.sleep(self._chance.between(0.5, 2.0))
        return False

    async def _one(self, wait: float) -> None:
        await asyncio.sleep(wait)
        try:
            await self._submit_and_follow()
        finally:
            self.busy -= 1

    async def _submit_and_follow(self) -> None:
        chance = self._chance
        algorithm = chance.of(ALGORITHMS)
        size = chance.of([2, 2 * INLINE])
        payload = msgspec.Raw(b'{"numbers": "%s"}' % (b"%d" % chance.below(10) * size))
        body: dict[str, Any] = {"algorithmParameters": payload}
        if chance.one_in(4):
            body["tag"] = "tag-1"
        if self.accepted and chance.one_in(4):
            parent = chance.of([*self.accepted])
            body["parentRequest"] = {"requestId": parent, "algorithmName": self.accepted[parent]}
        key = f"key-{chance.below(1 << 30)}" if chance.one_in(2) else ""
        query = "dryRun=true" if chance.one_in(8) else ""
        encoded = msgspec.json.encode(body)
        holder = HOLDERS[self.busy % len(HOLDERS)]
        run = await self._submit(algorithm, encoded, key, query, holder)
        if run is None:
            return
        self.sent[run] = bytes(payload)
        if key and chance.one_in(3):
            again = await self._submit(algorithm, encoded, key, query, holder)
            if again not in {run, None}:
                self.lies.append(f"{key} stood for {run}, and then for {again}")
        await self._follow(algorithm, run)

    async def _submit(self, algorithm: str, body: bytes, key: str, query: str, holder: str) -> str | None:
        headers = {"Authorization": f"Bearer {holder}"} | ({"Idempotency-Key": key} if key else {})
        for _ in range(4):
            answer = await self._http.call("POST", f"/algorithm/v1/run/{algorithm}", body, headers, query)
            if answer and answer.status == 202:
                run: str = answer.json["requestId"]
                self.accepted[run] = algorithm
                self.holders[run] = holder
                return run
            if answer and answer.status != 503:
                # A parent that has ended, or a cluster whose kubeconfig is away.
                if not any(words in answer.body for words in (b"has ended", b"is not configured")):
                    self.lies.append(f"a submission was answered {answer.status}: {answer.body.decode()}")
                return None
            await asyncio.sleep(self._chance.between(0.5, 2.0))
        return None

    async def _follow(self, algorithm: str, run: str) -> None:
        for _ in range(self._chance.below(4)):
            await asyncio.sleep(self._chance.between(0.0, 3.0))
            what = self._chance.of([self._cancel, self._tag, self._read, self._read, self._read])
            await what(algorithm, run)

    async def _cancel(self, algorithm: str, run: str) -> None:
        body = {"initiator": "client", "reason": "why not", "cancellationPolicy": self._chance.of(_POLICIES)}
        path = f"/algorithm/v1/cancel/{algorithm}/requests/{run}"
        self._must_be_known(run, await self._http.call("POST", path, msgspec.json.encode(body)))

    async def _tag(self, algorithm: str, run: str) -> None:
        body = {"newTag": self._chance.of(["tag-1", "tag-2"])}
        path = f"/algorithm/v1/metadata/tags/{algorithm}/requests/{run}"
        self._must_be_known(run, await self._http.call("POST", path, msgspec.json.encode(body)))

    async def _read(self, algorithm: str, run: str) -> None:
        path = self._chance.of(
            [
                f"/algorithm/v1/results/{algorithm}/requests/{run}",
                f"/algorithm/v1/metadata/{algorithm}/requests/{run}",
                f"/algorithm/v1/check/{algorithm}/requests/{run}",
                f"/api/v1/runs/{run}",
                f"/api/v1/runs/{run}/events",
            ]
        )
        answer = await self._http.call("GET", path)
        if self._installation.proving and "/check/" in path:
            if answer and answer.status != 401:
                self.lies.append(f"{path} was answered {answer.status} to who has no capability")
            return
        self._must_be_known(run, answer)

    def _must_be_known(self, run: str, answer: Answer | None) -> None:
        if answer and answer.status not in {200, 503}:
            self.lies.append(f"{run} was accepted, and is answered {answer.status}: {answer.body.decode()}")
