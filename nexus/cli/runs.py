"""Looking at runs, and ending them: `nexus get`, `list`, `events`, `cancel`."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from nexus.cli.options import DEFAULT_URL, Algorithm, Json, RequestId, Since, Until, Url, moment
from nexus.domain.events import DeletionPolicy
from nexus.domain.ids import parse_request_id
from nexus.domain.run import Stage

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus get 019a8c5e-6f00-7000-8000-000000000001", rich_help_panel="Runs")(get)
    app.command("list", epilog="Example: nexus list --stage FAILED --since 24h", rich_help_panel="Runs")(
        list_runs
    )
    app.command(epilog="Example: nexus events 019a8c5e-6f00-7000-8000-000000000001", rich_help_panel="Runs")(
        events
    )
    app.command(
        epilog="Example: nexus cancel 019a8c5e-6f00-7000-8000-000000000001 --reason 'wrong input'",
        rich_help_panel="Runs",
    )(cancel)


def get(
    request_id: RequestId,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Wait for the end of the run, and exit as `nexus run` does."),
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Show a run, and why it failed.

    For a run that did not complete: the cause, details, a hint, its attempts and the end of its log.
    """
    from nexus.cli import following, render
    from nexus.cli.server import connect

    with connect(url) as client:
        run = client.run(request_id)
        if follow:
            run = following.follow(client, url, run.request_id, None)
            following.finish(client, run, as_json=as_json)
        elif as_json:
            render.emit(run)
        else:
            render.show_run(run)
            if run.diagnosis:
                render.show_why(run, following.history(client, request_id))


def list_runs(
    algorithm: Algorithm = None,
    stage: Annotated[
        Stage | None, typer.Option(case_sensitive=False, help="Only runs in this stage.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Only runs with this tag.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="Only children of this run.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="Runs to list, at most.")] = 50,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    from nexus.cli import render
    from nexus.cli.server import connect
    from nexus.ports import RunFilter

    where = RunFilter(
        algorithm=algorithm,
        stage=stage,
        tag=tag,
        parent=parse_request_id(parent) if parent else None,
        since=moment("--since", since),
        until=moment("--until", until),
    )
    with connect(url) as client:
        found = client.runs(where, limit)
    if as_json:
        render.emit(found)
    else:
        render.show_runs(found)


def events(request_id: RequestId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Show the history of a run: its events, and the end of its log where that was recorded."""
    from nexus.cli import render
    from nexus.cli.server import connect

    with connect(url) as client:
        found = client.events(request_id)
    if as_json:
        render.emit(found)
    else:
        render.show_events(found)


def cancel(
    request_id: RequestId,
    reason: Annotated[str, typer.Option(help="The reason, kept in the history of the run.")] = "",
    initiator: Annotated[str, typer.Option(help="Who cancels. Default: the user of this shell.")] = "",
    policy: Annotated[
        DeletionPolicy, typer.Option(help="What happens to the Job and the children of the run.")
    ] = DeletionPolicy.BACKGROUND,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Cancel a run that has not ended.

    A run that has ended stays as it is: the cancel is recorded in its history, and changes nothing.
    """
    from nexus.cli import render
    from nexus.cli.server import connect

    with connect(url) as client:
        before = client.run(request_id)
        client.cancel(
            before.algorithm,
            request_id,
            reason=reason,
            initiator=initiator or _user(),
            policy=policy,
        )
        run = client.run(request_id)
    if as_json:
        render.emit(run)
    elif before.ended or (run.ended and run.stage is not Stage.CANCELLED):
        ended = render.stage(run.stage)
        render.out().print(f"{run.request_id} had ended before: ", ended, "; nothing was changed", sep="")
    elif run.ended:
        render.out().print(f"{run.request_id} is cancelled")
    else:
        render.out().print(f"{run.request_id} will be cancelled as soon as the projections are up to date")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        return "nexus cancel"
