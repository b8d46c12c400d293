"""Paths as they were sent: a parameter is one segment, percent-decoded exactly once, whatever it holds.

Servers decode the whole path before it is routed, so that `%2F` in a tag would be a step of the path. Here the path is
routed as it came, and each parameter is decoded after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_to_bytes

from litestar.enums import ScopeType
from litestar.exceptions import NotFoundException

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

_AS = b"/as/"

__all__ = ["as_sent", "decoded_parameters", "encoded_path"]


def as_sent(app: ASGIApp) -> ASGIApp:
    """Route by the path as it was sent: an ASGI application around Litestar, for `decoded_parameters` within."""

    async def with_encoded_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["raw_path"].startswith(_AS):
            _take_capability(scope)
        if scope["type"] == ScopeType.HTTP and "%" in (raw := scope["raw_path"].decode("ascii", "replace")):
            scope["path"] = encoded_path(raw)
        await app(scope, receive, send)

    return with_encoded_path


def _take_capability(scope: HTTPScope) -> None:
    """`/as/<capability>/rest` is `/rest` with a capability beside it: upstream's client keeps the path of its base address.

    It is taken away before anything is routed, counted or logged.
    """
    capability, slash, rest = scope["raw_path"].removeprefix(_AS).partition(b"/")
    scope["raw_path"] = slash + rest or b"/"
    scope["path"] = unquote(scope["raw_path"].decode("ascii", "replace"))
    scope["auth"] = capability.decode("ascii", "replace")


def encoded_path(raw: str) -> str:
    """The path with each segment written in the one usual way: `%61` is `a`, and `%2F` stays."""
    return "/".join(quote(unquote_to_bytes(segment), safe="") for segment in raw.split("/"))


def decoded_parameters(app: ASGIApp) -> ASGIApp:
    """Hand the handler its parameters decoded: a middleware of Litestar. What is no UTF-8 is the name of nothing."""

    async def with_parameters(scope: Scope, receive: Receive, send: Send) -> None:
        given = scope["path_params"]
        try:
            scope["path_params"] = {name: unquote(value, errors="strict") for name, value in given.items()}
        except UnicodeDecodeError:
            raise NotFoundException from None
        await app(scope, receive, send)

    return with_parameters
