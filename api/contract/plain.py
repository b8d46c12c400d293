"""Answers on upstream's paths: errors are plain sentences, and some replies must carry no Content-Type (§11.4)."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import MediaType, Response
from litestar.response.base import ASGIResponse

from nexus.domain.errors import InvalidInput, NotFound, Unavailable
from nexus.domain.ids import parse_request_id

__all__ = [
    "REPORT",
    "SMALL_BODY",
    "Bare404",
    "Nothing",
    "no_such_page",
    "paths",
    "require_id",
    "text",
    "unavailable",
]


SMALL_BODY = 1024 * 1024
"""Bytes that a cancel or a tag may have."""
REPORT = 4 * 1024**2
"""Bytes that a report may have: its texts are cut, because a report must not be lost."""


class Nothing(msgspec.Struct):
    """`{}`"""


def paths(tail: str) -> list[str]:
    """The versioned path, and the same as the unversioned latest."""
    return [f"/algorithm/v1/{tail}", f"/algorithm/{tail}"]


def text(status: int, sentence: str = "", headers: dict[str, str] | None = None) -> Response[str]:
    return Response(sentence, status_code=status, media_type=MediaType.TEXT, headers=headers)


def unavailable(error: Unavailable) -> Response[str]:
    """Nothing was accepted, or it is unknown whether: the client's retry decides."""
    return text(503, f"Service is temporarily unable to process the request: {error}", {"Retry-After": "1"})


def no_such_page() -> Response[str]:
    """What upstream's router says of an unknown path or a wrong method."""
    return text(404, "404 page not found")


def require_id(request_id: str) -> str:
    """For reads: what is no UUID is the id of no run."""
    try:
        return parse_request_id(request_id)
    except InvalidInput as error:
        raise NotFound(str(error)) from None


class Bare404(Response[None]):
    """404 without a body and without a Content-Type: upstream's client panics on any other for metadata."""

    def __init__(self) -> None:
        super().__init__(None, status_code=404)

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        return _Bare(status_code=404)


class _Bare(ASGIResponse):
    def encode_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"content-length", b"0")]
