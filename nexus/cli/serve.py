"""`nexus dev`, the roles that it holds together, and the configuration that both go by."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexus.cli.options import DEFAULT_URL, ConfigFile, Json, State
from nexus.domain.errors import ConfigError

if TYPE_CHECKING:
    from nexus.config import Config
    from nexus.dev import Dev

__all__ = ["register"]

_ROLES = {
    "api": ("Serve the HTTP API", "event log, run store, payload store and templates"),
    "receiver": ("Take what algorithms report", "event log and run store"),
    "scheduler": ("Turn requests into Jobs", "event log, run store and cluster"),
    "ledger": ("Fold events into the projections", "event log and run store"),
    "watcher": ("Publish what a cluster shows", "event log and cluster"),
    "supervisor": ("Turn observations into facts, and collect Jobs", "event log, run store and cluster"),
    "controller": ("Sync templates to clusters", "templates and cluster"),
}
"""What each role does, and which engines its processes share with the others."""


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus dev --templates examples --port 8080", rich_help_panel="Serve")(dev)
    app.command(epilog="Example: nexus config --config nexus.yaml", rich_help_panel="Serve")(config)
    for role, (does, engines) in _ROLES.items():
        app.command(
            role,
            help=f"{does}, as a process of its own (not on the embedded engines).",
            epilog="Example: nexus dev",
            rich_help_panel="Serve",
        )(_refuse(role, engines))


def dev(
    state: State = Path(".nexus"),
    config: ConfigFile = None,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; this machine only when left out.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 8080 when left out.")] = None,
    templates: Annotated[Path | None, typer.Option(help="The folder with the manifests.")] = None,
    slots: Annotated[int | None, typer.Option(help="How many pods run at a time.")] = None,
    rate: Annotated[float | None, typer.Option(help="Jobs created per second, at most.")] = None,
    as_json: Json = False,
) -> None:
    """All roles in one process, all state in one folder; nothing else is needed.

    Algorithms run as processes of this machine. Ctrl-C stops Nexus; what was accepted goes on at the next start.
    """
    from nexus.cli import logs, render
    from nexus.config import load

    flags = {
        "http.host": host,
        "http.port": port,
        "templates.folder": templates and str(templates),
        "cluster.slots": slots,
        "throttle.rate": rate,
    }
    settings = load(config, os.environ, flags)
    if not settings.templates.folder.is_dir():
        raise ConfigError(
            f"there is no folder {settings.templates.folder}: name the one with your manifests with --templates"
        )
    logs.configure(settings.logging)

    from nexus.dev import serve
    from nexus.embedded.state import StateFolder

    folder = StateFolder(state)

    def announce(started: Dev) -> None:
        _announce(started, settings, folder.root, as_json)

    asyncio.run(serve(settings, folder, announce))
    render.err().print(f"stopped; everything accepted is kept in {folder.root}")


def config(file: ConfigFile = None, as_json: Json = False) -> None:
    """Show the configuration as it applies: defaults, then the file, then NEXUS__SECTION__KEY. Secrets are hidden."""
    import yaml

    from nexus.cli import render
    from nexus.config import load, shown

    tree = shown(load(file, os.environ))
    if as_json:
        render.emit(tree)
    else:
        sys.stdout.write(yaml.safe_dump(tree, sort_keys=False))


def _announce(started: Dev, settings: Config, state: Path, as_json: bool) -> None:
    from nexus import __version__
    from nexus.cli import render

    algorithms = started.templates.names()
    if as_json:
        found = {
            "url": started.url,
            "docs": f"{started.url}/docs",
            "state": str(state),
            "algorithms": algorithms,
        }
        render.emit(found)
        return
    out = render.out()
    out.print(f"[bold]Nexus {__version__}[/] listens on {started.url}")
    out.print(f"  docs        {started.url}/docs")
    out.print(f"  state       {state}", markup=False)
    if algorithms:
        out.print(f"  algorithms  {', '.join(algorithms)}", markup=False)
        out.print(f"  try         {_example(started, algorithms)}", markup=False, soft_wrap=True)
    else:
        out.print(
            f"  algorithms  none yet: put a NexusAlgorithmTemplate and its workgroup in {settings.templates.folder}",
            markup=False,
            soft_wrap=True,
        )


def _example(started: Dev, algorithms: list[str]) -> str:
    """A command that works as it is, where a payload lies beside a manifest."""
    url = [] if started.url == DEFAULT_URL else ["--url", started.url]
    for name in algorithms:
        folder = started.templates.directory_of(name)
        if folder and (payload := next(iter(sorted(folder.glob("*.json"))), None)):
            return shlex.join(["nexus", "run", name, "--payload", str(payload), *url])
    return shlex.join(["nexus", "run", algorithms[0], "--payload", "{}", *url])


def _refuse(role: str, engines: str) -> Callable[[], None]:
    def command() -> None:
        raise ConfigError(
            f"`nexus {role}` needs an {engines} that processes share, "
            "and the embedded engines belong to one `nexus dev`: use `nexus dev` here"
        )

    return command
