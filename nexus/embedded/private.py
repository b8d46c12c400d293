"""Files and folders that belong to their owner alone, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = [
    "UNFINISHED",
    "create_whole",
    "make_file",
    "make_folder",
    "make_unfinished",
    "sync_folder",
    "tighten",
]

_FOLDER = 0o700
_FILE = 0o600
_OTHERS = 0o077

UNFINISHED = ".unfinished-"
"""How the names of files begin that are being written. The next owner of the state folder removes what a kill left."""


def make_folder(path: Path) -> None:
    """Make it where it is missing, with what leads to it. No umask opens it to others."""
    path.mkdir(mode=_FOLDER, parents=True, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file where there is none: for who would make it readable by all.

    One that is there is not opened: closing it would drop the locks that SQLite holds on it in this process.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE))


def make_unfinished(folder: Path) -> tuple[int, Path]:
    """A new file in it, open for writing, to be renamed once it is whole."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=UNFINISHED)
    return handle, Path(name)


def create_whole(path: Path, content: bytes) -> None:
    """Make a file that survives a power cut from the first moment that it has this name. Raises FileExistsError."""
    handle, temporary = make_unfinished(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in it durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def tighten(root: Path) -> None:
    """Take away what others may do with a folder and all that it holds.

    Does nothing where others cannot enter the folder. The folder itself comes last: what a crash left open is found
    by the next start.
    """
    if not root.stat().st_mode & _OTHERS:
        return
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            if not path.is_symlink():
                _close(path)
    _close(root)


def _close(path: Path) -> None:
    try:
        path.chmod(path.stat().st_mode & ~_OTHERS & 0o7777)
    except FileNotFoundError:  # a Job that goes on without Nexus took it away
        return
