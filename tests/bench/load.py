"""A load generator that costs little: keep-alive connections, each sending its next request on the last answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.bench.figures import quantile

__all__ = ["Load", "listening", "post"]


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A whole HTTP/1.1 request."""
    usual = ("Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}")
    return "\r\n".join([f"POST {path} HTTP/1.1", *usual, *headers, "", ""]).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _send(self) -> None:
        request = self._load.next_request()
        if request is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._buffer = b""
        self._load.answered(head[9:12], rest, time.perf_counter() - self._sent)
        self._send()


class Load:
    """Sends what `make` gives until it gives None. Answers other than `expected` are an error of the benchmark."""

    def __init__(self, make: Callable[[], bytes | None], expected: bytes = b"202") -> None:
        self._make = make
        self._expected = expected
        self.latencies: list[float] = []
        self.bodies: list[bytes] = []
        self.seconds = 0.0

    def next_request(self) -> bytes | None:
        return self._make()

    def answered(self, status: bytes, body: bytes, seconds: float) -> None:
        if status != self._expected:
            raise RuntimeError(f"answered {status!r}: {body[:500]!r}")
        self.latencies.append(seconds)
        self.bodies.append(body)

    async def run(self, host: str, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        made = [
            await loop.create_connection(lambda: _Connection(self), host, port) for _ in range(connections)
        ]
        await asyncio.gather(*(connection.closed for _, connection in made))
        self.seconds = time.perf_counter() - started

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, part: float) -> float:
        """In milliseconds."""
        return quantile(self.latencies, part) * 1000


async def listening(port: int) -> None:
    """Returns when somebody does, on this machine."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
