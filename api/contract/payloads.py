"""Payloads behind signed addresses (contract §1.3, §5.4): the exact bytes that the client sent."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from api.contract.plain import require_id, text
from api.fresh_rows import known_run
from api.openapi import TEXT_ERRORS
from api.parameters import Algorithm, RequestId, ServicesOf
from nexus.domain.errors import NotFound
from nexus.domain.payload import payload_key, payload_path

__all__ = ["payload_routes"]


@get(
    "/data/v1/payloads/{algorithm:str}/requests/{request_id:str}",
    summary="The payload of a run, for who holds a signed address",
    tags=["payloads"],
    media_type="application/json",
    responses=TEXT_ERRORS(403, 404, 503),
)
async def read_payload(
    services: ServicesOf, request: Request[Any, Any, Any], algorithm: Algorithm, request_id: RequestId
) -> Response[bytes] | Response[str]:
    query = dict(request.query_params.items())
    if not services.signer.allows(payload_path(algorithm, request_id), query, services.clock()):
        return text(403, f"Invalid payload address: {request.url}")
    try:
        run = await known_run(services, require_id(request_id))
        body = await services.store.payload(run.id)
        if body is None:
            body = await services.payloads.get(payload_key(algorithm, run.id))
    except NotFound:
        return text(404)
    if body is None or run.request.content_hash != query["chk"]:
        return text(404)
    return Response(body, media_type="application/json")


payload_routes = [read_payload]
