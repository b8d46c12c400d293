"""A TCP relay to a server, that can go silent, cut its connections or refuse new ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["Relay", "relay"]


class Relay:
    """While `silent`, what the server says stays here; what it is told still arrives."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._open: set[asyncio.StreamWriter] = set()
        self.taken = 0
        """How many connections there were until now."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def silent(self) -> bool:
        return not self._speaks.is_set()

    @silent.setter
    def silent(self, silent: bool) -> None:
        self._speaks.clear() if silent else self._speaks.set()

    def cut(self) -> None:
        """Break every connection as a lost network does; new ones are taken."""
        for writer in self._open:
            writer.transport.abort()

    async def refuse(self) -> None:
        """From now on nobody listens."""
        self._server.close()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        mine = {writer, to_server}
        self._open |= mine
        try:
            await asyncio.gather(self._pass(reader, to_server), self._pass(server, writer, told=True))
        finally:
            self._open -= mine
            for each in mine:
                each.close()

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, told: bool = False
    ) -> None:
        with suppress(OSError):
            while piece := await source.read(65536):
                if told:
                    await self._speaks.wait()
                target.write(piece)
                await target.drain()
        target.transport.abort()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    between = Relay(port)
    await between.start()
    try:
        yield between
    finally:
        between.silent = False
        await between.refuse()
