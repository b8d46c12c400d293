"""A server for as long as somebody needs it."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TypeVar

from infra.services.cache import cache_folder
from infra.services.server import Server

__all__ = ["lent"]

_Kind = TypeVar("_Kind", bound=Server)


@contextmanager
def lent(kind: type[_Kind]) -> Iterator[_Kind]:
    """The usual server where it runs already, else one that begins empty and ends with its last user.

    Several processes may lend it at a time. What a killed one left running is replaced by the next.
    """
    usual = kind()
    if usual.running():
        usual.wait_ready()
        yield usual
        return
    own = kind(cache_folder() / "lent" / kind.name)
    own.install()
    own.folder.parent.mkdir(parents=True, exist_ok=True)
    # The kernel drops a lock with its process, so a user who was killed does not count.
    with own.folder.with_name(f"{kind.name}.users").open("a") as users:
        if _only_user(users):
            own.stop()
            shutil.rmtree(own.folder, ignore_errors=True)
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            own.start()
            yield own
        finally:
            if _only_user(users):
                own.stop()


def _only_user(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
