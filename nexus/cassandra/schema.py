"""The schema's versions: `infra/cassandra/NNN-*.cql`, each applied once, in order."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple

from nexus.cassandra.driver import Session
from nexus.config import Cassandra
from nexus.domain.errors import ConfigError

__all__ = ["Version", "apply", "check", "make_keyspace", "versions"]

_APPLIED = "CREATE TABLE IF NOT EXISTS schema_versions (component text, version int, name text, PRIMARY KEY (component, version))"
_COMPONENT = "nexus"
_THERE_ALREADY = re.compile("already exists|conflicts with an existing column")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


class Version(NamedTuple):
    number: int
    name: str
    statements: tuple[str, ...]


def versions() -> list[Version]:
    """All there are, the oldest first."""
    found = [_version(file.name, file.read_text()) for file in (files("infra") / "cassandra").iterdir()]
    return sorted(found)


def _version(name: str, text: str) -> Version:
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    statements = tuple(statement.strip() for statement in code.split(";") if statement.strip())
    return Version(int(name.partition("-")[0]), name.removesuffix(".cql"), statements)


async def make_keyspace(session: Session, config: Cassandra, *, development: bool = False) -> None:
    """Where it is missing. Raises ConfigError for a name that is none, and for more replicas than nodes.

    In development there are no more replicas than nodes.
    """
    keyspace, replicas = config.keyspace, config.replicas
    if not _NAME.fullmatch(keyspace):
        raise ConfigError(
            f"cassandra.keyspace = {keyspace!r}: use at most 48 of a-z, 0-9 and _, a letter first"
        )
    if await session.execute(
        f"SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = '{keyspace}'"
    ):
        return
    [(here,)] = await session.execute("SELECT data_center FROM system.local")
    others = await session.execute("SELECT data_center FROM system.peers")
    centre = config.local_dc or here
    nodes = [here, *(name for (name,) in others)].count(centre)
    if development:
        replicas = min(replicas, nodes)
    if nodes < replicas:
        raise ConfigError(
            f"cassandra.replicas = {replicas}, but the data centre {centre} has {nodes} node(s): "
            "add nodes, or ask for fewer replicas (one is for development only)"
        )
    replication = f"{{'class': 'NetworkTopologyStrategy', '{centre}': {replicas}}}"
    await session.execute(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}")


async def apply(session: Session) -> list[Version]:
    """Those that were missing, now applied. After a crash midway it goes on where it stopped."""
    await session.execute(_APPLIED)
    applied = await _applied(session)
    missing = [version for version in versions() if version.number not in applied]
    for version in missing:
        for statement in version.statements:
            await _run(session, statement)
        await session.execute(
            "INSERT INTO schema_versions (component, version, name) "
            f"VALUES ('{_COMPONENT}', {version.number}, '{version.name}')"
        )
    return missing


async def check(session: Session) -> None:
    """Raises ConfigError where a version is missing."""
    try:
        applied = await _applied(session)
    except ConfigError:
        applied = set()
    missing = [version.name for version in versions() if version.number not in applied]
    if missing:
        raise ConfigError(
            f"the run store's schema is behind ({', '.join(missing)} missing): apply it with `nexus schema`"
        )


async def _applied(session: Session) -> set[int]:
    rows = await session.execute(f"SELECT version FROM schema_versions WHERE component = '{_COMPONENT}'")
    return {number for (number,) in rows}


async def _run(session: Session, statement: str) -> None:
    """A column that is there already was added by an application that was cut short."""
    try:
        await session.execute(statement)
    except ConfigError as error:
        if not (statement.startswith("ALTER TABLE") and _THERE_ALREADY.search(str(error))):
            raise
