"""A TCP proxy that can be cut or stopped: what a server's death and its silence look like from outside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

__all__ = ["Proxy", "proxied"]


class Proxy:
    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pipes: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Connections break, and new ones are refused until it listens again."""
        if self._server:
            self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def stop(self) -> None:
        """Connections stay, and nothing passes."""
        self._flowing.clear()

    def go_on(self) -> None:
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            pipe = asyncio.create_task(self._pass(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while some := await source.read(65536):
                await self._flowing.wait()
                sink.write(some)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


@contextlib.asynccontextmanager
async def proxied(address: str) -> AsyncIterator[Proxy]:
    """In front of `host:port`."""
    host, _, port = address.partition(":")
    proxy = Proxy(host, int(port))
    await proxy.listen()
    yield proxy
    proxy.go_on()
    await proxy.cut()
