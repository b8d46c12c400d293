"""From configuration to a session: Cassandra, Scylla, Astra by its bundle, Amazon Keyspaces."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from pathlib import Path

from nexus.cassandra import schema
from nexus.cassandra.driver import Access, Session
from nexus.config import Cassandra
from nexus.domain.errors import ConfigError

__all__ = ["access", "connect", "open_session"]

_PORT = 9042
_KEYSPACES_PORT = 9142


async def connect(config: Cassandra, keyspace: str | None) -> Session:
    """Raises ConfigError for what cannot be, Unavailable while no node answers."""
    return await Session.connect(access(config), keyspace, config.in_flight)


async def open_session(config: Cassandra) -> Session:
    """In the keyspace that is configured. Raises ConfigError where `nexus schema` has to be run first."""
    session = await connect(config, config.keyspace)
    try:
        await schema.check(session)
    except BaseException:
        await session.close()
        raise
    return session


def access(config: Cassandra) -> Access:
    """Raises ConfigError that names the key."""
    bundle = config.bundle or _unpacked(config.bundle_base64)
    if (config.flavour == "astra") != (bundle is not None):
        raise ConfigError(
            "cassandra.bundle and cassandra.flavour = 'astra' belong together: "
            "name the secure connect bundle that Astra's console offers, or set neither"
        )
    if bundle:
        if config.hosts:
            raise ConfigError("cassandra.hosts and cassandra.bundle exclude each other: remove one of them")
        if not bundle.is_file():
            raise ConfigError(f"cassandra.bundle: there is no file {bundle}")
        if not config.username:
            raise ConfigError(
                "cassandra.username and cassandra.password are needed for Astra: 'token' and a token"
            )
        return Access(bundle=bundle, username=config.username, password=config.password)
    keyspaces = config.flavour == "keyspaces"
    if keyspaces and not config.username:
        raise ConfigError(
            "cassandra.username and cassandra.password are needed for Keyspaces: make service-specific credentials"
        )
    port = _KEYSPACES_PORT if keyspaces else _PORT
    hosts = [_host(text.strip(), port) for text in config.hosts.split(",") if text.strip()]
    if not hosts:
        raise ConfigError("cassandra.hosts is empty: name a node as host or host:port")
    return Access(
        hosts=hosts,
        local_dc=config.local_dc,
        tls=keyspaces or config.ca_file is not None,
        ca_file=config.ca_file,
        username=config.username,
        password=config.password,
    )


def _unpacked(encoded: str) -> Path | None:
    """The file that the driver wants, readable for this user alone, and the same one again for the same bundle."""
    if not encoded:
        return None
    try:
        content = base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise ConfigError(f"cassandra.bundle_base64 is not base64: {error}") from None
    folder = Path(tempfile.gettempdir(), f"nexus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ConfigError(f"{folder} belongs to another user: the bundle of Astra cannot be kept there")
    file = folder / f"astra-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    file.touch(mode=0o600)
    file.write_bytes(content)
    return file


def _host(text: str, default: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, default
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"cassandra.hosts: {text!r} is neither host nor host:port")
    return host, int(port)
