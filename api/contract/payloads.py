"""Payloads behind signed addresses (contract §1.3, §5.4): the exact bytes that the client sent, or a part of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPMethod
from typing import Any

from litestar import HttpMethod, Request, Response, route
from litestar.response import Stream

from api.context import ApiContext
from api.contract.plain import require_id, text
from api.contract.ranges import select
from api.fresh_rows import known_run
from api.openapi import TEXT_ERRORS
from api.parameters import Algorithm, ContextOf, RequestId
from nexus.domain.errors import NotFound, Unavailable
from nexus.domain.payload import payload_key, payload_path
from nexus.domain.run import Run
from nexus.ports import PIECE

__all__ = ["payload_routes"]

_JSON = "application/json"


@route(
    "/data/v1/payloads/{algorithm:str}/requests/{request_id:str}",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    status_code=200,
    summary="The payload of a run, for who holds a signed address",
    tags=["payloads"],
    media_type=_JSON,
    responses=TEXT_ERRORS(403, 404, 503),
)
async def read_payload(
    context: ContextOf, request: Request[Any, Any, Any], algorithm: Algorithm, request_id: RequestId
) -> Response[Any]:
    """Answers as an object store does: also HEAD, a single range, and whether it is what the reader has."""
    query = dict(request.query_params.items())
    if not context.signer.allows(payload_path(algorithm, request_id), query, context.clock()):
        return text(403, f"Invalid payload address: {request.url}")
    try:
        run = await known_run(context, require_id(request_id))
    except NotFound:
        return text(404)
    content_hash, length = run.request.content_hash, run.request.payload_size
    if content_hash != query["chk"]:
        return text(404)
    asked = select(request.headers, f'"{content_hash}"', length)
    parts = _Parts(context, run)
    first = await parts.read(asked.start, min(asked.size, PIECE) or 1)
    if first is None:
        return text(404)
    if request.method == HTTPMethod.HEAD or not asked.size:
        return Response(b"", status_code=asked.status, headers=asked.headers, media_type=_JSON)
    if len(first) == asked.size:
        return Response(first, status_code=asked.status, headers=asked.headers, media_type=_JSON)
    rest = parts.follow(first, asked.start, asked.size)
    return Stream(rest, status_code=asked.status, headers=asked.headers, media_type=_JSON)


class _Parts:
    """A payload piece by piece, wherever it lies."""

    def __init__(self, context: ApiContext, run: Run) -> None:
        self._services = context
        self._run = run
        self._inline: bytes | None = None

    async def read(self, start: int, size: int) -> bytes | None:
        """None where the payload is not there any more."""
        if self._inline is None:
            self._inline = await self._services.store.payload(self._run.id)
        if self._inline is not None:
            return self._inline[start : start + size]
        key = payload_key(self._run.request.algorithm, self._run.id)
        return await self._services.payloads.part(key, start, size)

    async def follow(self, piece: bytes, start: int, size: int) -> AsyncIterator[bytes]:
        """What was read already, and the rest. Raises Unavailable where it went meanwhile: the answer ends short."""
        stop = start + size
        yield piece
        while (start := start + len(piece)) < stop:
            found = await self.read(start, min(PIECE, stop - start))
            if not found:
                raise Unavailable(f"the payload of {self._run.id} ends at its byte {start}")
            piece = found
            yield piece


payload_routes = [read_payload]
