"""The state folder: where the embedded engines keep what they must not forget."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from collections.abc import Iterator
from pathlib import Path

from nexus.domain.errors import ConfigError

__all__ = ["StateFolder"]


class StateFolder:
    """The names of everything in it. One process at a time owns the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.log = self.root / "log.db"
        self.projections = self.root / "projections.db"
        self.claims = self.root / "claims.db"
        self.payloads = self.root / "payloads"
        self.cluster = self.root / "cluster"

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Make the folder where it is missing, and own it. Raises ConfigError when another process does."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / "lock").open("a")
        except OSError as error:
            raise ConfigError(
                f"the state folder {self.root} cannot be used ({error}): name another with --state"
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"the state folder {self.root} is in use by another Nexus: stop that one, or name another folder with --state"
                ) from None
            yield

    def must_exist(self) -> None:
        """Raises ConfigError where nothing was ever kept here."""
        if not self.log.exists():
            raise ConfigError(
                f"{self.root} holds no Nexus state: start `nexus dev` there first, or name a folder with --state"
            )

    def sign_secret(self) -> bytes:
        """The secret that signs payload URLs when none is configured; made once."""
        path = self.root / "sign-secret"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(32))
        return path.read_text().encode()
