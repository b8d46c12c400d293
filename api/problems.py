"""Errors: RFC 9457 problem details on our own paths, plain sentences on upstream's."""

from __future__ import annotations

from math import ceil
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from api.contract.plain import no_such_page, text, unavailable
from nexus.domain.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    LimitReached,
    NexusError,
    NotFound,
    Unauthenticated,
    Unavailable,
)

__all__ = ["handle_error", "handle_http_error", "handle_nexus_error", "problem"]

_log = structlog.get_logger(__name__)
_PROBLEM_JSON = "application/problem+json"
_CONTRACT = ("/algorithm", "/data")
_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}


def problem(status: int, detail: str, **members: str) -> Response[dict[str, Any]]:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        **members,
    }
    headers = {"Retry-After": "1"} if status == 503 else None
    return Response(body, status_code=status, media_type=_PROBLEM_JSON, headers=headers)


def handle_nexus_error(request: Request[Any, Any, Any], error: NexusError) -> Response[Any]:
    """What our own handlers raise; upstream's handlers answer theirs themselves, but for what befalls all alike."""
    if isinstance(error, Unauthenticated | Forbidden):
        return _refused(request, error)
    if isinstance(error, LimitReached):
        return _limited(request, error)
    if _is_contract(request):
        return unavailable(error) if isinstance(error, Unavailable) else text(400, str(error))
    match error:
        case InvalidInput():
            return problem(400, str(error), field=error.field)
        case NotFound():
            return problem(404, str(error))
        case Conflict():
            return problem(409, str(error))
        case Unavailable():
            return problem(503, str(error))
        case _:
            return handle_error(request, error)


def _refused(request: Request[Any, Any, Any], error: Unauthenticated | Forbidden) -> Response[Any]:
    """As RFC 6750 has it: what is wrong is in a header too, but for who sent no token."""
    status, code = (
        (401, "invalid_token") if isinstance(error, Unauthenticated) else (403, "insufficient_scope")
    )
    given = not isinstance(error, Unauthenticated) or error.given
    challenge = f'Bearer realm="nexus", error="{code}"' if given else 'Bearer realm="nexus"'
    answer = text(status, str(error)) if _is_contract(request) else problem(status, str(error))
    answer.headers["WWW-Authenticate"] = challenge
    return answer


def _limited(request: Request[Any, Any, Any], error: LimitReached) -> Response[Any]:
    answer = text(429, str(error)) if _is_contract(request) else problem(429, str(error))
    answer.headers["Retry-After"] = str(ceil(error.retry_after))
    return answer


def handle_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the framework found: no such path or method, a body over the limit, a parameter of the wrong type."""
    status = error.status_code
    if _is_contract(request):
        if status in {404, 405}:
            return no_such_page()
        if status == 413:
            return text(400, "Algorithm payload is invalid: the body is larger than this server accepts")
        return text(min(status, 500), error.detail, error.headers)
    detail = error.detail
    if isinstance(error.extra, list):
        detail += "; " + "; ".join(
            f"{item.get('key', '')}: {item.get('message', '')}" for item in error.extra
        )
    answer = problem(status, detail)
    answer.headers.update(error.headers or {})
    return answer


def handle_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A mistake of ours: the caller gets nothing of its inside, the log all."""
    _log.error("request_failed", path=request.url.path, exc_info=error)
    sentence = "Internal error occurred when processing your request."
    return text(500, sentence) if _is_contract(request) else problem(500, sentence)


def _is_contract(request: Request[Any, Any, Any]) -> bool:
    return request.url.path.startswith(_CONTRACT)
