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
    """Compare the projections with a fresh fold of the log.

    Exits with 1 when they differ. Works beside a running Nexus: a row that its ledger has not reached yet counts as late,
    not as wrong.
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
        typer.Option(metavar="KEYSPACE", help="The fresh keyspace to fill, on Cassandra."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the projections anew from the log.

    In a state folder this replaces the projections: stop Nexus first. On Cassandra it fills a fresh keyspace while Nexus
    runs: set cassandra.keyspace to that keyspace afterwards. No notification is sent again.
    """
    from nexus.cli import rebuilding, render

    records = asyncio.run(rebuilding.rebuild(state, config, into))
    if as_json:
        render.emit({"records": records})
    else:
        render.out().print(f"the projections are made anew from {records} records")


def _show(found: Verification) -> None:
    from nexus.cli import render

    out = render.out()
    out.print(f"{found.runs} runs in the log, {found.behind} behind, {len(found.differences)} different")
    if found.differences:
        shown = render.table("RUN", "PROBLEM", "FIELDS", widest="FIELDS")
        for difference in found.differences:
            shown.add_row(difference.request_id, difference.problem, ", ".join(difference.fields))
        render.show(shown)
        out.print("stop Nexus and make the projections anew with `nexus rebuild`")
