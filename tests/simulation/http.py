"""The API's own ASGI application, called without a socket: by clients and algorithms, at any process that serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from api.app import ROUTES, create_litestar
from api.context import ApiContext
from api.health import Health
from api.paths import as_sent
from tests.simulation.chance import Chance
from tests.simulation.faults import Faults, Trace
from tests.simulation.loop import Process, VirtualLoop, current_process
from tests.simulation.tenants import ACCESS, HOLDERS

__all__ = ["Answer", "Http"]

_PATIENCE = 8.0
"""Seconds until a client gives up."""


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


_BEARER = f"Bearer {HOLDERS[0]}"
"""Who asks where nobody else is said to."""

_contexts: dict[Process, ApiContext] = {}

_app = as_sent(
    create_litestar(
        list(ROUTES),
        lambda: _contexts[current_process()],
        lambda: Health(list),
        max_body=1 << 20,
        access=ACCESS,
    )
)
"""One for all simulations, because it takes long to make; each request is given what its process serves with."""


class Http:
    def __init__(self, loop: VirtualLoop, chance: Chance, faults: Faults, trace: Trace) -> None:
        self._loop = loop
        self._chance = chance
        self._faults = faults
        self._trace = trace
        self.serving: Callable[[], Sequence[Process]] = list

    def serve(self, process: Process, context: ApiContext) -> None:
        _contexts[process] = context

    def close(self, processes: Sequence[Process]) -> None:
        for process in processes:
            _contexts.pop(process, None)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> Answer | None:
        """None where no answer came, whatever was done."""
        there = self.serving()
        if not there:
            await asyncio.sleep(0.5)
            return None
        process = self._chance.of(there)
        answer: asyncio.Future[Answer | None] = self._loop.create_future()

        async def handle() -> None:
            given = await _ask(method, path, body, {"Authorization": _BEARER, **(headers or {})}, query)
            lost = self._faults.at_a_call(["no answer"])
            self._say(process, f"{method} {path[-30:]}: {given.status}{' which is lost' if lost else ''}")
            if not lost:
                self._loop.in_world(0.002 * self._chance.unit(), self._give, answer, given)

        def start() -> None:
            if process.alive:
                self._loop.within(process, lambda: self._loop.create_task(handle()))

        self._loop.in_world(0.002 * self._chance.unit(), start)
        self._loop.in_world(_PATIENCE, self._give, answer, None)
        return await answer

    def _give(self, answer: asyncio.Future[Answer | None], given: Answer | None) -> None:
        if not answer.done():
            answer.set_result(given)

    def _say(self, process: Process, what: str) -> None:
        self._trace.say(self._loop.time(), process, what)


async def _ask(method: str, path: str, body: bytes, headers: Mapping[str, str], query: str) -> Answer:
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("nexus.test", 80),
        "extensions": {},
    }
    status = 0
    parts = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await _app(scope, receive, send)
    return Answer(status, b"".join(parts))
