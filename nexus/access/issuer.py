"""What an OIDC issuer publishes, over HTTP."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from nexus.access.keys import Published
from nexus.domain.errors import ConfigError, InvalidInput, Unavailable

__all__ = ["Issuer"]

_TIMEOUT = 5.0
"""Seconds without a byte."""
_LARGEST = 1024 * 1024
"""Bytes of a document."""


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class Issuer:
    """One issuer. Close with `close`."""

    def __init__(self, url: str, jwks_url: str, ca_file: Path | None) -> None:
        """`jwks_url` is where its keys are; empty: where its discovery document says. Raises ConfigError."""
        for key, each in (("auth.issuer", url), ("auth.jwks_url", jwks_url)):
            if each and not _is_safe(each):
                raise ConfigError(
                    f"{key} = {each!r}: write an https address; whoever changes keys on the way lets anybody in"
                )
        self.url = url
        self._jwks_url = jwks_url
        try:
            verify = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigError(f"auth.ca_file: {ca_file} cannot be read ({error})") from None
        self._http = httpx.AsyncClient(verify=verify, timeout=_TIMEOUT, follow_redirects=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def published(self) -> Published:
        """Raises Unavailable, or InvalidInput for an answer that says nothing."""
        return Published(self.url, await self._read(self._jwks_url or await self._discovered()))

    async def _discovered(self) -> str:
        body = await self._read(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
        try:
            found = msgspec.json.decode(body, type=_Discovery)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidInput("", f"its discovery document cannot be read ({error})") from None
        if found.issuer != self.url:
            raise InvalidInput("", f"its discovery document is that of {found.issuer[:200]!r}")
        if not _is_safe(found.jwks_uri):
            raise InvalidInput(
                "", f"its keys would be fetched from {found.jwks_uri[:200]!r}, which is no https address"
            )
        return found.jwks_uri

    async def _read(self, url: str) -> bytes:
        body = b""
        try:
            async with self._http.stream("GET", url, headers={"Accept": "application/json"}) as answer:
                if answer.status_code != 200:
                    raise Unavailable(f"{url} answered {answer.status_code}")
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _LARGEST:
                        raise InvalidInput("", f"{url} answered with more than {_LARGEST} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"{url} gave no answer ({error or type(error).__name__})") from None
        return body


def _is_safe(url: str) -> bool:
    """Nobody but this machine comes between what is on its loopback."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https"
        or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"})
    )
