"""Payloads in a folder, one file each."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from nexus.domain.errors import Unavailable
from nexus.embedded.private import UNFINISHED, make_folder, make_unfinished, sync_folder
from nexus.ports import StoredPayload

__all__ = ["FolderPayloadStore"]


class FolderPayloadStore:
    """Keys are those of `nexus.domain.payload.payload_key`, made of names that were validated."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, body: bytes) -> str:
        async def whole() -> AsyncIterator[bytes]:
            yield body

        return await self.put_pieces(key, whole())

    async def put_pieces(self, key: str, pieces: AsyncIterator[bytes]) -> str:
        path = self._root / key
        try:
            file = await asyncio.to_thread(_Unfinished, path)
            try:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
                await asyncio.to_thread(file.finish)
            except BaseException:
                file.discard()
                raise
        except OSError as error:
            raise Unavailable(
                f"{path} cannot be written ({error}): check the disk's space and permissions"
            ) from error
        return path.absolute().as_uri()

    async def get(self, key: str) -> bytes | None:
        try:
            return await asyncio.to_thread((self._root / key).read_bytes)
        except FileNotFoundError:
            return None

    async def part(self, key: str, start: int, size: int) -> bytes | None:
        try:
            return await asyncio.to_thread(_part, self._root / key, start, size)
        except FileNotFoundError:
            return None

    async def delete(self, key: str) -> None:
        await asyncio.to_thread((self._root / key).unlink, missing_ok=True)

    async def stored(self, after: str, limit: int) -> list[StoredPayload]:
        return await asyncio.to_thread(lambda: list(islice(_beyond(self._root, after), limit)))


def _part(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _beyond(root: Path, after: str) -> Iterator[StoredPayload]:
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.exists() else []
    for folder in sorted(folders, key=lambda folder: f"{folder.name}/"):
        if after > f"{folder.name}/" and not after.startswith(f"{folder.name}/"):
            continue
        for file in sorted(folder.iterdir()):
            key = f"{folder.name}/{file.name}"
            if key > after and not file.name.startswith(UNFINISHED):
                try:
                    yield StoredPayload(key, datetime.fromtimestamp(file.stat().st_mtime, UTC))
                except FileNotFoundError:
                    continue  # somebody removed it meanwhile


class _Unfinished:
    """A file that takes the place of `path` once it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        make_folder(path.parent.parent)
        make_folder(path.parent)
        handle, self._name = make_unfinished(path.parent)
        self._file = os.fdopen(handle, "wb")

    def write(self, piece: bytes) -> None:
        self._file.write(piece)

    def finish(self) -> None:
        """The file is there, and stays after a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._name.replace(self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        self._name.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk, which was said already
            self._file.close()
