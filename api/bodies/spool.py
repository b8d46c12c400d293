"""A body of any size, in memory or in a file without a name."""

from __future__ import annotations

import asyncio
import mmap
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from litestar import Request
from litestar.di import NamedDependency, Provide

from api.bodies.intake import Incoming, Intake, incoming
from nexus.domain.errors import Unavailable
from nexus.ports import PIECE, PayloadStore

__all__ = ["Spooled", "SpooledBody", "spooled_body"]

_IN_MEMORY = 256 * 1024
"""Bytes beyond which a body goes to disk."""

T = TypeVar("T")


class Spooled:
    """A whole body. `content` is bytes, or the file as mapped memory, which does not count while nobody looks at it."""

    def __init__(self, intake: Intake, content: bytes | mmap.mmap) -> None:
        self.content = content
        self._intake = intake

    async def work(self, look: Callable[[], T]) -> T:
        """What `look` makes of the content: at once where that is small, else in a thread, and few at a time."""
        if isinstance(self.content, bytes):
            return look()
        async with self._intake.looking:
            return await asyncio.to_thread(self._look, look)

    async def put(self, part: memoryview, store: PayloadStore, key: str) -> str:
        """Put a part of the content there, and return its address. Of large ones a few at a time, piece by piece."""
        if isinstance(self.content, bytes):
            return await store.put(key, bytes(part))
        async with self._intake.storing:
            if len(part) <= PIECE:
                return await store.put(key, await asyncio.to_thread(self._look, partial(bytes, part)))
            return await store.put_pieces(key, self._pieces(part))

    async def _pieces(self, part: memoryview) -> AsyncIterator[bytes]:
        for start in range(0, len(part), PIECE):
            yield await asyncio.to_thread(self._look, partial(bytes, part[start : start + PIECE]))

    def _look(self, look: Callable[[], T]) -> T:
        try:
            return look()
        finally:
            if isinstance(self.content, mmap.mmap):
                self.content.madvise(mmap.MADV_DONTNEED)


async def _read(request: Request[Any, Any, Any]) -> Spooled:
    coming = incoming(request)
    held: list[bytes] = []
    size = 0
    stream = request.stream()
    async for piece in stream:
        held.append(piece)
        size += len(piece)
        if size > _IN_MEMORY:
            return await _read_to_disk(coming, held, stream)
    return Spooled(coming.intake, b"".join(held))


async def _read_to_disk(coming: Incoming, held: list[bytes], rest: AsyncIterator[bytes]) -> Spooled:
    folder = coming.intake.limits.folder
    try:
        # It has no name: nothing is left of it when this process dies.
        with await asyncio.to_thread(_temporary, folder) as file:
            await _write(coming, file, b"".join(held))
            held.clear()
            async for piece in rest:
                await _write(coming, file, piece)
            return Spooled(coming.intake, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise Unavailable(
            f"the body cannot be kept in {folder or tempfile.gettempdir()} ({error}): check the disk's space and permissions"
        ) from error


def _temporary(folder: Path | None) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)


async def _write(coming: Incoming, file: IO[bytes], piece: bytes) -> None:
    coming.to_disk(len(piece))
    await asyncio.to_thread(_write_all, file, piece)


def _write_all(file: IO[bytes], piece: bytes) -> None:
    file.write(piece)
    file.flush()  # here, where a full disk is an error of ours and not of who closes the file


SpooledBody = NamedDependency[Spooled]
"""A handler's `spooled`, for a route with the dependencies of `spooled_body`."""

spooled_body = {"spooled": Provide(_read)}
