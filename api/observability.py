"""What a request leaves behind: a request id, a line of log, a count."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

import structlog
import uuid_utils
from litestar.enums import ScopeType
from prometheus_client import Counter, Histogram

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

__all__ = ["Observed"]

_log = structlog.get_logger("nexus.http")
_REQUEST_ID = b"x-request-id"
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
_REQUESTS = Counter("nexus_http_requests_total", "Requests answered", ["method", "path", "status"])
_SECONDS = Histogram("nexus_http_request_seconds", "Time to answer", ["method", "path"])


class Observed:
    """An ASGI application around another. It gives each request an id, its own or a new one, and says how it went."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        await self._answer(scope, receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        given = next((value for name, value in scope["headers"] if name == _REQUEST_ID), b"")
        request_id = (
            given.decode("ascii", "replace")[:128] if given.isascii() and given else uuid_utils.uuid4().hex
        )
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (_REQUEST_ID, request_id.encode("ascii", "replace")),
                ]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)  # each request has a context of its own
        await self.app(scope, receive, send_with_id)
        elapsed = time.perf_counter() - started
        # The template of the path, not the path: its parameters are without end.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        answers, seconds = _metrics(method, str(scope.get("path_template") or "unknown"), status)
        answers.inc()
        seconds.observe(elapsed)
        say = _log.warning if status >= 500 else _log.debug
        say("answered", method=scope["method"], path=scope["path"], status=status, seconds=elapsed)


@cache
def _metrics(method: str, path: str, status: int) -> tuple[Counter, Histogram]:
    """Looking up labels takes longer than counting; methods, paths and statuses are few."""
    return _REQUESTS.labels(method, path, status), _SECONDS.labels(method, path)
