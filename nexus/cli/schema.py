"""`nexus schema`: bring the run store's tables up to date."""

from __future__ import annotations

import asyncio
import os

import typer

from nexus.cli.options import ConfigFile, Json
from nexus.domain.errors import ConfigError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus schema --config nexus.yaml", rich_help_panel="Prepare")(schema)


def schema(file: ConfigFile = None, as_json: Json = False) -> None:
    """Create the keyspace and the tables of the run store, or bring them up to date.

    Run it as often as you like: what is up to date stays as it is.
    """
    from nexus.cli import render
    from nexus.composition.provision import make_tables
    from nexus.config import load

    config = load(file, os.environ).cassandra
    if not config.configured:
        raise ConfigError(
            "no run store is configured, and the embedded one makes its tables itself: "
            "set cassandra.hosts (NEXUS__CASSANDRA__HOSTS)"
        )
    applied = [version.name for version in asyncio.run(make_tables(config))]
    if as_json:
        render.emit({"keyspace": config.keyspace, "applied": applied})
    elif applied:
        render.out().print(f"{config.keyspace}: applied {', '.join(applied)}")
    else:
        render.out().print(f"{config.keyspace} is up to date")
