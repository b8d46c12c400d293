"""All commands, as one application."""

from __future__ import annotations

from typing import Annotated

import typer

from nexus import __version__
from nexus.cli import access, audit, clusters, crds, garbage, replay, runs, schema, serve, submit, topics
from nexus.cli.boundary import Boundary

__all__ = ["app"]

app = typer.Typer(
    cls=Boundary,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: nexus dev",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nexus {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Run algorithms: HTTP in, Jobs out, every step an event."""


for _module in (serve, topics, schema, crds, submit, runs, clusters, garbage, access, replay, audit):
    _module.register(app)
