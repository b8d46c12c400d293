"""Payloads in a folder, one file each."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from nexus.domain.errors import Unavailable

__all__ = ["FolderPayloadStore"]


class FolderPayloadStore:
    """Keys are those of `nexus.domain.payload.payload_key`, made of names that were validated."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, body: bytes) -> str:
        path = self._root / key
        try:
            await asyncio.to_thread(_write_durably, path, body)
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

    async def delete(self, key: str) -> None:
        await asyncio.to_thread((self._root / key).unlink, missing_ok=True)


def _write_durably(path: Path, body: bytes) -> None:
    """The file is there whole or not at all, and stays after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
