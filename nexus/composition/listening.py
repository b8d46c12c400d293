"""Listening for HTTP: how many connections, for how long, and with what limits of the system."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from nexus.composition.certificates import Certificates
from nexus.composition.tasks import stop
from nexus.config import Http
from nexus.domain.errors import ConfigError

__all__ = ["check_address", "connections", "listening"]

_log = structlog.get_logger(__name__)

_BACKLOG = 4096
"""Connections that the system keeps until they are accepted; it cuts this to its own bound."""
_OTHER_FILES = 512
"""What the engines and bodies on disk may have open beside the connections."""
_PROBING = 256
"""Connections of those who ask for nothing but how this process is."""
_OVERLAP = 1.0
"""Seconds for which the server with a new certificate listens beside the one with the former."""
_FAREWELL = 5.0
"""Seconds for requests under way at the end. Who stalls keeps nobody from stopping."""


def connections(http: Http) -> int:
    """How many may be held: `max_connections`, or fewer where the system allows no more open files.

    Raises this process's own limit as far as it may. Raises ConfigError where hardly any is left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = http.max_connections + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    left = min(http.max_connections, allowed - _OTHER_FILES)
    if left < min(http.max_connections, _PROBING):
        raise ConfigError(
            f"the system allows this process {hard} open files, which leaves {max(left, 0)} for connections: "
            f"raise the limit to {wanted} (ulimit -Hn), or lower http.max_connections"
        )
    if left < http.max_connections:
        _log.warning(
            "fewer_connections",
            connections=left,
            configured=http.max_connections,
            problem=f"the system allows {hard} open files: raise the limit to {wanted} (ulimit -Hn)",
        )
    return left


@asynccontextmanager
async def listening(
    app: Any, probes: Any, http: Http, held: int, certificates: Certificates | None = None
) -> AsyncIterator[None]:
    """Serve the ASGI application on so many connections, and `probes`, another one or None, on a port of their own.

    With certificates it is served over TLS, and each time that they change by a new server on the same port: the former
    takes no new connections then, and answers what it has.
    """
    serving = [_Serving(_server(app, http, http.port, held, certificates))]
    if probes is not None:
        serving.append(_Serving(_server(probes, http, http.probe_port, _PROBING)))

    async def renew(certificates: Certificates) -> None:
        while True:
            await certificates.changed()
            new = _Serving(_server(app, http, http.port, held, certificates))
            await asyncio.sleep(_OVERLAP)
            if new.ended:
                certificates.not_served("no server could be started with what the files say")
            else:
                former, serving[0] = serving[0], new
                await former.stop()

    renewing = asyncio.create_task(renew(certificates)) if certificates else None
    try:
        yield
    finally:
        if renewing:
            await stop(renewing)
        await asyncio.gather(*(each.stop() for each in serving))


class _Serving:
    """A server that has been started."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._task = asyncio.create_task(server.serve())

    @property
    def ended(self) -> bool:
        return self._task.done()

    async def stop(self) -> None:
        self._server.stop()  # type: ignore[no-untyped-call]
        _, unfinished = await asyncio.wait([self._task], timeout=_FAREWELL)
        if unfinished:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def _server(app: Any, http: Http, port: int, held: int, certificates: Certificates | None = None) -> Server:
    return Server(
        app,
        address=http.host,
        port=port,
        interface=Interfaces.ASGI,
        # Where it may become HTTP/2, a connection that sends nothing is held for ever.
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=held,
        http1_settings=HTTP1Settings(header_read_timeout=int(http.header_timeout.total_seconds() * 1000)),
        log_enabled=False,
        ssl_cert=certificates.certificate if certificates else None,
        ssl_key=certificates.key if certificates else None,
        ssl_ca=certificates.client_ca if certificates else None,
        ssl_client_verify=bool(certificates and certificates.client_ca),
        ssl_protocol_min=SSLProtocols.tls12,
    )


def check_address(http: Http) -> None:
    """Raises ConfigError for a port that is taken: the server would only log that it cannot listen."""
    for port in filter(None, (http.port, http.probe_port)):
        with socket.socket(socket.AF_INET6 if ":" in http.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((http.host, port))
            except OSError as error:
                raise ConfigError(
                    f"cannot listen on {http.host}:{port} ({error}): stop what listens there, "
                    "or choose another port with --port"
                ) from None
