"""What was built or downloaded once, kept outside the checkout under a hash of what defines it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cache_folder", "exclusive", "installed", "place"]


def cache_folder() -> Path:
    """Where everything of these servers lies, programs and state."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nexus" / "services"


def place(name: str, *definition: str | bytes) -> Path:
    """The folder of what `definition` defines on this kind of machine, whether or not it is there."""
    digest = hashlib.sha256(f"{sys.platform} {platform.machine()}".encode())
    for part in definition:
        digest.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return cache_folder() / f"{name}-{digest.hexdigest()[:16]}"


def installed(target: Path, build: Callable[[Path], None]) -> None:
    """Make `target` by `build`, unless it is there: whole or not at all, and by one process at a time."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(target.with_name(f"{target.name}.lock")):
        if target.exists():
            return
        for remains in target.parent.glob(f"{target.name}.part-*"):  # of a build that was killed
            shutil.rmtree(remains)
        part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
        try:
            build(part)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(target)


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Wait until no other process is in a block with the same file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
