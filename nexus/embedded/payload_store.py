"""Payloads in a folder, one file each."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from nexus.domain.errors import Unavailable
from nexus.embedded.private import make_folder
from nexus.ports import StoredPayload

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

    async def stored(self, after: str, limit: int) -> list[StoredPayload]:
        return await asyncio.to_thread(lambda: list(islice(_beyond(self._root, after), limit)))


def _beyond(root: Path, after: str) -> Iterator[StoredPayload]:
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.exists() else []
    for folder in sorted(folders, key=lambda folder: f"{folder.name}/"):
        if after > f"{folder.name}/" and not after.startswith(f"{folder.name}/"):
            continue
        for file in sorted(folder.iterdir()):
            key = f"{folder.name}/{file.name}"
            if key > after and not file.name.startswith("."):  # which is one that is being written
                try:
                    yield StoredPayload(key, datetime.fromtimestamp(file.stat().st_mtime, UTC))
                except FileNotFoundError:
                    continue  # somebody removed it meanwhile


def _write_durably(path: Path, body: bytes) -> None:
    """The file is there whole or not at all, and stays after a power cut."""
    make_folder(path.parent.parent)
    make_folder(path.parent)
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
