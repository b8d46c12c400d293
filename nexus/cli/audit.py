"""Holding the projections against the log, and making them anew: `nexus verify` and `nexus rebuild`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexus.cli.options import ConfigFile, Json, State

if TYPE_CHECKING:
    from streams.audit import Verification

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus verify --state .nexus", rich_help_panel="Log")(verify)
    app.command(epilog="Example: nexus rebuild --state .nexus", rich_help_panel="Log")(rebuild)


def verify(state: State = Path(".nexus"), config: ConfigFile = None, as_json: Json = False) -> None:
    """Fold the log anew and hold the projections against that. Exits with 1 when they differ.

    Works beside a running Nexus: rows that its ledger has yet to reach are late, and not wrong.
    """
    from nexus.cli import render, verification

    found = asyncio.run(verification.verify(state, config))
    if as_json:
        render.emit(found)
    else:
        _show(found)
    if found.differences:
        raise typer.Exit(1)


def rebuild(
    state: State = Path(".nexus"),
    config: ConfigFile = None,
    into: Annotated[
        str | None,
        typer.Option(metavar="KEYSPACE", help="A fresh keyspace, where the projections are on Cassandra."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the projections anew from the log; nothing is emitted.

    Those of a state folder are replaced, and its Nexus must be stopped. On Cassandra Nexus goes on meanwhile: switch by
    setting cassandra.keyspace to the fresh one.
    """
    from nexus.cli import rebuilding, render

    records = asyncio.run(rebuilding.rebuild(state, config, into))
    if as_json:
        render.emit({"records": records})
    else:
        render.out().print(f"the projections are made anew from {records} records")


def _show(found: Verification) -> None:
    from rich.markup import escape

    from nexus.cli import render

    out = render.out()
    out.print(f"{found.runs} runs in the log, {found.behind} behind, {len(found.differences)} different")
    if found.differences:
        shown = render.table("RUN", "PROBLEM", "FIELDS", widest="FIELDS")
        for difference in found.differences:
            shown.add_row(difference.request_id, escape(difference.problem), ", ".join(difference.fields))
        render.show(shown)
        out.print("stop Nexus and make the projections anew with `nexus rebuild`")
