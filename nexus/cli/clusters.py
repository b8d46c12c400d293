"""The clusters: `nexus clusters`, and to cordon one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from nexus.cli.options import DEFAULT_URL, Json, Url

if TYPE_CHECKING:
    from nexus.views import ClusterView

__all__ = ["register"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the cluster.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks at the cluster.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(epilog="Example: nexus clusters --json | jq '.[].state'")
    group.callback(invoke_without_command=True)(clusters)
    group.command(epilog="Example: nexus clusters cordon eu --reason 'upgrade of its nodes'")(cordon)
    group.command(epilog="Example: nexus clusters uncordon eu")(uncordon)
    app.add_typer(group, name="clusters", rich_help_panel="Runs")


def clusters(ctx: typer.Context, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the clusters, with what waits and runs on each."""
    if ctx.invoked_subcommand is not None:
        return
    from nexus.cli import render
    from nexus.cli.server import connect

    with connect(url) as client:
        found = client.clusters()
    if as_json:
        render.emit(found)
    else:
        _show(found)


def cordon(name: Name, reason: Reason = "", url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Give a cluster no more Jobs.

    What it has goes on. What is requested for it waits, at most until its placement deadline.
    """
    from nexus.cli import render
    from nexus.cli.server import connect

    with connect(url) as client:
        standing = client.cordon(name, reason)
    if as_json:
        render.emit(standing)
    else:
        render.err().print(f"{name} is cordoned since {render.instant(standing.since)}")


def uncordon(name: Name, reason: Reason = "", url: Url = DEFAULT_URL) -> None:
    """Give a cluster Jobs again."""
    from nexus.cli import render
    from nexus.cli.server import connect

    with connect(url) as client:
        client.uncordon(name, reason)
    render.err().print(f"{name} is given Jobs again")


def _show(found: list[ClusterView]) -> None:
    from nexus.cli import render

    columns = (
        "CLUSTER",
        "STATE",
        "HEARD",
        "QUEUED",
        "LAG",
        "PENDING",
        "RATE",
        "RUNNING",
        "VERSIONS",
        "IDENTITY",
    )
    shown = render.table(*columns, widest="IDENTITY")
    for each in found:
        lag = "" if each.lag is None else render.elapsed(timedelta(seconds=each.lag))
        pending = "" if each.pending is None else f"{each.pending}/{each.window}"
        rate = "" if each.rate is None else f"{each.rate:.4g}/s"
        versions = " ".join(version for version in (each.kubernetes, *each.nexus) if version)
        shown.add_row(
            each.name,
            each.state,
            render.instant(each.heard_at),
            _number(each.queued),
            lag,
            pending,
            rate,
            _number(each.running),
            versions,
            each.identity,
        )
    render.show(shown)
    for each in found:
        if each.cordon:
            by = f" by {each.cordon.subject}" if each.cordon.subject else ""
            because = f": {each.cordon.reason}" if each.cordon.reason else ""
            render.err().print(
                f"{each.name} is cordoned since {render.instant(each.cordon.since)}{by}{because}"
            )
        if each.problem:
            render.err().print(f"{each.name}: {each.problem}")


def _number(count: int | None) -> str:
    return "" if count is None else str(count)
