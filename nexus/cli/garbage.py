"""List what runs left behind: `nexus garbage`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nexus.cli.options import DEFAULT_URL, Json, Url

if TYPE_CHECKING:
    from nexus.views import GarbageReport

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus garbage --json | jq '.garbage[].name'", rich_help_panel="Runs")(
        garbage
    )


def garbage(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Entries to list, at most.")] = 100,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List the Jobs and payloads that would be deleted now, and why.

    This command deletes nothing: the role supervisor does, at each sweep.
    """
    from nexus.cli import render
    from nexus.cli.server import connect

    with connect(url) as client:
        report = client.garbage(limit)
    if as_json:
        render.emit(report)
    else:
        _show(report)


def _show(report: GarbageReport) -> None:
    from nexus.cli import render

    if report.garbage:
        shown = render.table("KIND", "NAME", "CLUSTER", "SINCE", "BECAUSE", widest="BECAUSE")
        for each in report.garbage:
            since = render.instant(each.since)
            shown.add_row(each.kind, each.name, each.cluster, since, each.because)
        render.show(shown)
    else:
        render.err().print("nothing is left over")
    if report.more:
        render.err().print("there is more: ask with a higher --limit")
    for name in report.unheard:
        render.err().print(f"the cluster {name} is unreachable: the list lacks its Jobs")
