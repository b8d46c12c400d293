"""Waiting for a run to end, with a line that lives as long as it does."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from nexus.cli import render
from nexus.cli.boundary import INTERRUPTED
from nexus.cli.history import evidence_of
from nexus.cli.options import DEFAULT_URL
from nexus.domain.errors import Forbidden, NexusError, Unavailable
from nexus.domain.run import Stage

if TYPE_CHECKING:
    from nexus.client import Client, RunEvent, RunView

__all__ = ["finish", "follow", "history"]

_PAUSES = (0.1, 1.0)
"""Seconds between two looks: the first, and the longest."""
_EVIDENCE = 5.0
"""Seconds that a failure's evidence may take to be recorded before the failure is shown without."""


def follow(client: Client, url: str, request_id: str, within: timedelta | None) -> RunView:
    """The run as it ended. Ctrl-C and a time-out leave it running, and say so; a server that is away is waited for."""
    try:
        return _await_end(client, request_id, within)
    except KeyboardInterrupt:
        render.err().print(f"the run goes on; {_ways(url, request_id)}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except TimeoutError as error:
        raise NexusError(f"{error}; it goes on: {_ways(url, request_id)}") from None


def finish(client: Client, run: RunView, *, as_json: bool) -> None:
    """Show a run that ended, and exit as it did: 0 when COMPLETED, else 1."""
    completed = run.stage is Stage.COMPLETED
    if as_json:
        render.emit(run)
    else:
        render.show_run(run)
        if not completed:
            render.show_why(run, _events_with_evidence(client, run))
    if not completed:
        raise typer.Exit(1)


def _await_end(client: Client, request_id: str, within: timedelta | None) -> RunView:
    started = time.monotonic()
    pause, longest = _PAUSES
    with render.err().status("submitted") as status:
        while True:
            try:
                run = client.run(request_id)
                if run.ended:
                    return run
                age = render.elapsed(datetime.now(UTC) - run.received_at)
                status.update(Text(f"{run.algorithm}: {run.state}, {age}"))
                last = run.state.value
            except Unavailable as error:
                last = f"unknown ({error})"
                status.update(Text(f"waiting for an answer: {error}"))
            if within and time.monotonic() - started >= within.total_seconds():
                raise TimeoutError(
                    f"the run {request_id} has not ended within the --timeout, its state is {last}"
                )
            time.sleep(pause)
            pause = min(pause * 1.3, longest)


def _events_with_evidence(client: Client, run: RunView) -> list[RunEvent]:
    """The history, once it says why: the evidence follows the end of a run by a moment."""
    until = time.monotonic() + (_EVIDENCE if run.had_job and run.stage is not Stage.CANCELLED else 0)
    while True:
        events = history(client, run.request_id)
        if evidence_of(events) or time.monotonic() >= until:
            return events
        time.sleep(_PAUSES[0])


def history(client: Client, request_id: str) -> list[RunEvent]:
    """The history of a run, nothing where the caller may not see it: the run itself is shown all the same."""
    try:
        return client.events(request_id)
    except Forbidden as error:
        render.err().print(f"without its history: {error}")
        return []


def _ways(url: str, request_id: str) -> str:
    at = "" if url == DEFAULT_URL else f" --url {url}"
    return (
        f"follow it with `nexus get {request_id} --follow{at}`, end it with `nexus cancel {request_id}{at}`"
    )
