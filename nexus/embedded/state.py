"""The state folder: where the embedded engines keep what they must not forget."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from collections.abc import Iterator
from pathlib import Path

import structlog

from nexus.domain.errors import ConfigError, Unavailable
from nexus.domain.payload import LONGEST_KEY, SHORTEST_KEY
from nexus.embedded.private import UNFINISHED, create_whole, make_file, make_folder, tighten

__all__ = ["StateFolder"]

logger = structlog.get_logger()


class StateFolder:
    """The names of everything in it. One process at a time owns the folder, and one user may read it."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.log = self.root / "log.db"
        self.projections = self.root / "projections.db"
        self.fresh_projections = self.root / "projections.fresh.db"
        self.claims = self.root / "claims.db"
        self.payloads = self.root / "payloads"
        self.cluster = self.root / "cluster"

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Make the folder where it is missing, and own it. Raises ConfigError when another process does.

        What others may do with what it holds is taken away, and what a kill left half-written is removed.
        """
        try:
            make_folder(self.root)
            self._must_be_ours()
            make_file(self.root / "lock")
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
            try:
                self._sweep()
                tighten(self.root)
            except OSError as error:
                raise ConfigError(
                    f"the state folder {self.root} is open to other users, and cannot be closed to them ({error}): "
                    "make it this user's, or name another folder with --state"
                ) from None
            yield

    def _sweep(self) -> None:
        """Only an owner writes these, and this one has not begun."""
        rebuilt = self.fresh_projections.name
        for remains in (
            *self.root.glob(f"{UNFINISHED}*"),
            *self.root.glob(f"{rebuilt}*"),
            *self.payloads.glob(f"*/{UNFINISHED}*"),
        ):
            remains.unlink(missing_ok=True)

    def _must_be_ours(self) -> None:
        """Before others are shut out: a folder that holds other things is theirs too."""
        known = (self.root / "lock").exists() or self.log.exists()
        if not known and self.root.stat().st_mode & 0o077 and any(self.root.iterdir()):
            raise ConfigError(
                f"the folder {self.root} holds things that are not Nexus's, and a state folder is closed to all other "
                "users: name an empty folder, or a new one, with --state, or close this one with chmod 700"
            )

    def must_exist(self) -> None:
        """Raises ConfigError where nothing was ever kept here."""
        if not self.log.exists():
            raise ConfigError(
                f"{self.root} holds no Nexus state: start `nexus dev` there first, or name a folder with --state"
            )

    def sign_secret(self) -> bytes:
        """The secret that signs payload URLs when none is configured; made once. Raises ConfigError for a weak one.

        An empty one is made anew, because nothing that was signed with it can be trusted.
        """
        path = self.root / "sign-secret"
        try:
            if path.exists() and not path.read_bytes().strip():
                logger.warning("the empty secret that signs payload URLs is made anew", file=str(path))
                path.unlink()
            if not path.exists():
                create_whole(path, secrets.token_urlsafe(SHORTEST_KEY).encode())
            secret = path.read_bytes().strip()
        except OSError as error:
            raise Unavailable(
                f"the secret {path} cannot be read or made ({error}): check the disk's space and permissions"
            ) from error
        if not SHORTEST_KEY <= len(secret) <= LONGEST_KEY:
            raise ConfigError(
                f"the secret in {path} has {len(secret)} bytes and needs {SHORTEST_KEY} to {LONGEST_KEY}: remove the file "
                "and start again to have one made, or write a random one into it"
            )
        return secret
