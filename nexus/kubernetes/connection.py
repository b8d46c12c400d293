"""A connection to one API server: JSON bytes out and in, and the client library's credentials on each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

import aiohttp
import msgspec
import structlog
from multidict import CIMultiDict
from yarl import URL

from nexus.domain.errors import ConfigError, OutcomeUnknown, Refused, Unavailable
from nexus.kubernetes.credentials import Access, Load

__all__ = ["Answer", "Connection", "Method", "Status", "refusal", "status"]

_log = structlog.get_logger(__name__)

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

_CONNECT = 5.0
_ANSWER = 60.0
"""Seconds for the API server to say something: its own limit for a request is a minute."""
_RELOAD_PAUSE = 5.0
_IN_FLIGHT = 100
_REASON = 4096
"""Characters of a refusal that are kept: it goes into events, and an API server may quote all that it refuses."""
_BUFFER = 1024 * 1024


class Answer(NamedTuple):
    """What the API server answered, whatever the status. Header names match in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True):
    """What says why: `meta/v1` Status."""

    reason: str = ""
    message: str = ""
    code: int = 0
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(Status)


def status(answer: Answer) -> Status:
    """Why an answer is not a success, in the API server's words, or in those of a proxy before it."""
    try:
        return _STATUS.decode(answer.body)
    except msgspec.DecodeError:
        return Status(message=answer.body[:200].decode(errors="replace"))


def refusal(answer: Answer) -> Refused:
    """The error for an answer that is not a success."""
    said = status(answer)
    after = float(said.details.retry_after_seconds) if said.details else 0.0
    header = answer.headers.get("Retry-After", "")
    if header.isdecimal():
        after = float(header)
    reason = said.message or said.reason or "no reason given"
    if len(reason) > _REASON:
        reason = f"{reason[:_REASON]}... (cut, of {len(reason)} characters)"
    return Refused(answer.status, reason, retry_after=after or None)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.read()
    except RuntimeError as error:  # the connection was closed by us
        raise aiohttp.ClientConnectionError(str(error)) from error


class Connection:
    """Paths are absolute and escaped, with their query. Close with `close`.

    Credentials are read at the first request, again when there is another version of them, and when the API server
    answers 401: that covers tokens, files and plugins. While they cannot be used, the cluster counts as unreachable, or is
    asked with those from before.
    """

    def __init__(self, name: str, load: Load) -> None:
        self.name = name
        self._load = load
        self._loading = asyncio.Lock()
        self._loaded_at = 0.0
        self._version: object = None
        self._access: Access | None = None
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Raises ConfigError where there are no credentials now; the API server is not asked yet."""
        self._version = self._load.version()
        await self._use(await self._load())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def host(self) -> str:
        """Tell where the API server is that the next request asks. Raises Unavailable."""
        return (await self._current()).host

    async def request(
        self,
        method: Method,
        path: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
    ) -> Answer:
        """Any status is an answer. Raises Unavailable, or OutcomeUnknown where a change may have been made."""
        try:
            async with self._answered(method, path, body, content_type, _ANSWER) as response:
                return Answer(response.status, response.headers, await _body(response))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._lost(error, method, path) from error

    @asynccontextmanager
    async def stream(self, path: str, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body in pieces as they come; it ends when the server ends it, or was silent for that many seconds.

        Entering raises Refused for any status but 200, and Unavailable; so does reading when the connection is lost.
        """
        try:
            async with self._answered("GET", path, None, "", silence) as response:
                if response.status != 200:
                    raise refusal(Answer(response.status, response.headers, await _body(response)))
                yield self._pieces(response, path)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._lost(error, "GET", path) from error

    async def _pieces(self, response: aiohttp.ClientResponse, path: str) -> AsyncIterator[bytes]:
        try:
            while piece := await response.content.readany():
                yield piece
        except aiohttp.SocketTimeoutError:
            _log.info("stream_was_silent", cluster=self.name, path=path)
        except (aiohttp.ClientError, RuntimeError) as error:  # the second where it was closed by us
            raise self._lost(error, "GET", path) from error

    @asynccontextmanager
    async def _answered(
        self, method: Method, path: str, body: bytes | None, content_type: str, silence: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        access = await self._current()
        async with await self._send(access, method, path, body, content_type, silence) as response:
            if response.status != 401:
                yield response
                return
            renewed = await self._renewed(access)
            if renewed is access:
                yield response
                return
        async with await self._send(renewed, method, path, body, content_type, silence) as response:
            yield response

    async def _send(
        self,
        access: Access,
        method: Method,
        path: str,
        body: bytes | None,
        content_type: str,
        silence: float,
    ) -> aiohttp.ClientResponse:
        headers = CIMultiDict({"Accept": "application/json, */*"})  # keys of tokens have a type of their own
        if body is not None:
            headers["Content-Type"] = content_type
        if authorization := await access.authorization():
            headers["Authorization"] = authorization
        options: dict[str, Any] = {"server_hostname": access.server_name} if access.server_name else {}
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_IN_FLIGHT), read_bufsize=_BUFFER
            )
        return await self._session.request(
            method,
            URL(access.host + path, encoded=True),
            data=body,
            headers=headers,
            ssl=access.ssl,
            proxy=access.proxy,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=silence),
            **options,
        )

    async def _renewed(self, refused: Access) -> Access:
        """Other credentials than those, if there are any by now. A plugin is not run for each of many refusals."""
        async with self._loading:
            now = asyncio.get_running_loop().time()
            if self._access is refused and now >= self._loaded_at + _RELOAD_PAUSE:
                self._loaded_at = now
                try:
                    await self._use(await self._load())
                except ConfigError as error:
                    _log.warning("credentials_not_read", cluster=self.name, problem=str(error))
            return self._access or refused

    async def _current(self) -> Access:
        """The credentials as they are now, or as they last could be used."""
        if self._access is not None and self._load.version() in {None, self._version}:
            return self._access
        async with self._loading:
            version = self._load.version()
            if self._access is None or version not in {None, self._version}:
                self._version = version
                try:
                    await self._use(await self._load())
                except ConfigError as error:
                    if self._access is None:
                        raise Unavailable(str(error)) from error
                    _log.warning("credentials_not_read", cluster=self.name, problem=str(error))
            assert self._access is not None
            return self._access

    async def _use(self, access: Access) -> None:
        """What still goes on with another API server is cut off: a watch of it would tell of another cluster."""
        before, self._access = self._access, access
        if before is not None and before.host != access.host:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    def _lost(self, error: Exception, method: Method, path: str) -> Unavailable:
        where = f"{self.name} at {self._access.host if self._access else '?'}"
        # The words of the client hold the address of an object in memory.
        said = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        what = f"{type(error).__name__}: {said}".removesuffix(": ")
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return Unavailable(f"the cluster {where} cannot be reached ({what}): is its API server up?")
        lost = f"{method} {path} to the cluster {where} got no answer ({what})"
        return Unavailable(lost) if method == "GET" else OutcomeUnknown(f"{lost}: it may have been done")
