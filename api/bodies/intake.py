"""Takes in the bodies of requests: cut off when they stall, decoded, and counted against what all may hold together."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from litestar.enums import ScopeType
from litestar.exceptions import ClientException, HTTPException

from api.bodies.gunzip import Gunzip
from nexus.domain.errors import Unavailable

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

__all__ = ["BodyLimits", "Budget", "Incoming", "Intake", "incoming"]

_SLOWEST = 16 * 1024
"""Bytes a second that a body must come with, once its first time-out is over."""
_LINGER = 5.0
"""Seconds for which the rest of a body is read that was refused."""
_STATE = "nexus_incoming"


class BodyLimits(msgspec.Struct, frozen=True):
    """`memory` and `disk` are the bytes that all bodies together may take there; `timeout` is in seconds."""

    timeout: float = 20.0
    memory: int = 128 * 1024**2
    disk: int = 8 * 1024**3
    folder: Path | None = None
    """Where bodies wait that are too large for memory; None: where the system keeps temporary files."""


class Budget:
    """Bytes that are shared out."""

    def __init__(self, limit: int, key: str) -> None:
        self._limit = limit
        self._key = key
        self.taken = 0

    def take(self, size: int) -> None:
        """Raises Unavailable where not so much is left."""
        if self.taken + size > self._limit:
            raise Unavailable(
                f"the bodies of requests under way take as much as they may ({self._key}): try again later"
            )
        self.taken += size

    def give(self, size: int) -> None:
        self.taken -= size


class Intake:
    """What the requests of one process share: two budgets, and turns with large bodies."""

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self.memory = Budget(limits.memory, "http.body_memory")
        self.disk = Budget(limits.disk, "http.body_disk")
        self.looking = asyncio.Semaphore(1)
        """The right to pass over a large body as a whole."""
        self.storing = asyncio.Semaphore(8)
        """The right to hold a piece of a large body on its way to the payload store."""

    def around(self, app: ASGIApp) -> ASGIApp:
        """A middleware of Litestar: inside it, so that what is wrong with a body is answered in the path's own form."""

        async def with_incoming(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP or scope["method"] in {"GET", "HEAD"}:
                await app(scope, receive, send)
                return
            coming = Incoming(self, receive, send, scope["headers"])
            scope["state"][_STATE] = coming
            try:
                await app(scope, coming.receive, coming.answer)
            finally:
                coming.close()

        return with_incoming


def incoming(connection: ASGIConnection[Any, Any, Any, Any]) -> Incoming:
    """The body of this request."""
    return cast("Incoming", connection.scope["state"][_STATE])


class Incoming:
    """The body of one request, and the way of its answer. `receive` is that of ASGI, and raises what is to be answered."""

    def __init__(self, intake: Intake, receive: Receive, send: Send, headers: Any) -> None:
        self.intake = intake
        self._receive = receive
        self._send = send
        self._encoding = ", ".join(
            [
                value.decode("latin-1").strip().lower()
                for name, value in headers
                if name == b"content-encoding"
            ]
        )
        self._gunzip: Gunzip | None = None
        self._more = True
        self._waited = 0.0
        self._received = 0
        self._in_memory = 0
        self._on_disk = 0

    async def receive(self) -> HTTPReceiveMessage:
        """The next piece of the body, decoded. Raises HTTPException, and Unavailable where no more bodies fit."""
        if not self._more and self._gunzip is None:
            return cast("HTTPReceiveMessage", await self._receive())
        if self._received == 0:
            self._gunzip = self._decoder()
        body = await self._piece() if self._gunzip is None else await self._inflated(self._gunzip)
        self.intake.memory.take(len(body))
        self._in_memory += len(body)
        return {"type": "http.request", "body": body, "more_body": self._more or self._gunzip is not None}

    def to_disk(self, size: int) -> None:
        """So much of the body is in a file now, and nothing in memory. Raises Unavailable where it does not fit."""
        self.intake.disk.take(size)
        self._on_disk += size
        self.intake.memory.give(self._in_memory)
        self._in_memory = 0

    async def answer(self, message: Message) -> None:
        """Send what ASGI sends, once the body is read."""
        if message["type"] == "http.response.start":
            await self.discard()
        await self._send(message)

    async def discard(self) -> None:
        """Read what nobody wants: a connection that is closed while a client sends may lose the answer."""
        if not self._more:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while self._more:
                    self._see(await self._receive())

    def close(self) -> None:
        """Hold nothing of it any more.

        The server keeps a connection open for as long as somebody could still read from it, and what an error of a
        handler refers to lives until it is collected as garbage.
        """
        del self._receive, self._send
        self.intake.memory.give(self._in_memory)
        self.intake.disk.give(self._on_disk)
        self._in_memory = self._on_disk = 0

    def _decoder(self) -> Gunzip | None:
        match self._encoding:
            case "" | "identity":
                return None
            case "gzip" | "x-gzip":
                return Gunzip()
        raise HTTPException(
            status_code=415,
            detail=f"the Content-Encoding {self._encoding[:40]!r} is not understood: send gzip, or none",
            headers={"Accept-Encoding": "gzip"},
        )

    async def _inflated(self, gunzip: Gunzip) -> bytes:
        """The next of what was inflated; empty, and no decoder any more, at the end."""
        while not (body := gunzip.next_piece()):
            if not self._more:
                gunzip.finish()
                self._gunzip = None
                return b""
            gunzip.feed(await self._piece())
        await asyncio.sleep(0)  # a little becomes a lot, and others want to get on
        return body

    async def _piece(self) -> bytes:
        """What comes next as it comes, if it comes in time."""
        limit = self.intake.limits.timeout
        left = min(limit, limit + self._received / _SLOWEST - self._waited)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(left):
                message = await self._receive()
        except TimeoutError:
            self._more = False
            raise HTTPException(
                status_code=408,
                detail=f"the body stopped after {self._received} bytes, or came too slowly (http.body_timeout)",
                headers={"Connection": "close"},
            ) from None
        self._waited += clock() - began
        body = self._see(message)
        if message["type"] == "http.disconnect":
            raise ClientException("the body ended before it was whole, or its chunks are badly framed")
        return body

    def _see(self, message: Any) -> bytes:
        body = cast("bytes", message.get("body", b""))
        self._received += len(body)
        self._more = bool(message.get("more_body", False))
        return body
