"""Who may ask from a browser: a page of another origin may not, nor one whose name was made to lead to this machine."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from litestar.exceptions import PermissionDeniedException

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

__all__ = ["Origins", "is_loopback"]


class Origins(msgspec.Struct, frozen=True):
    """`hosts` are the names by which a server on the loopback is asked, empty where it may be asked by any.

    `allowed` are origins beside the server's own, such as `https://tools.example.com`.
    """

    hosts: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, host: str, external_url: str, allowed: Iterable[str]) -> Origins:
        """For a server that listens on `host`. Clients other than browsers send no Origin, and are not concerned."""
        own = {host.lower(), urlsplit(external_url).hostname or host.lower()}
        hosts = frozenset(own | {"localhost", "127.0.0.1", "::1"}) if is_loopback(host) else frozenset()
        origins = {_origin(external_url)} if external_url else set()
        return cls(hosts, frozenset(origins | {_origin(each) for each in allowed}))

    def refusal(self, host: str, origin: str) -> str:
        """Why a request with these headers is refused, empty where it is not; a header that is missing is empty."""
        if host and self.hosts and _hostname(host) not in self.hosts:
            return (
                f"this server listens on the loopback and is not {host[:80]!r}: ask it as localhost, "
                "or set http.external_url"
            )
        if origin and _origin(origin) not in self.allowed and urlsplit(origin).netloc.lower() != host.lower():
            return f"the origin {origin[:80]!r} may not ask this server: add it to http.allowed_origins"
        return ""

    def around(self, app: ASGIApp) -> ASGIApp:
        """Refuse with 403 before anything is read: a middleware of Litestar."""

        async def checked(scope: Scope, receive: Receive, send: Send) -> None:
            headers = {name: value for name, value in scope["headers"] if name in {b"host", b"origin"}}
            host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
            if refusal := self.refusal(host, origin):
                raise PermissionDeniedException(refusal)
            await app(scope, receive, send)

        return checked


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _origin(url: str) -> str:
    """Scheme, host and port, as a browser writes them."""
    parts = urlsplit(url.strip().lower())
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.removesuffix(usual) if usual else parts.netloc}"
