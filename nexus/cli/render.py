"""How runs and their histories look on a terminal, and as JSON. Answers go to stdout, all else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nexus.cli.history import attempts, evidence_of, said
from nexus.domain.events import Evidence
from nexus.domain.run import Stage

if TYPE_CHECKING:
    from nexus.client import RunEvent, RunView

__all__ = [
    "elapsed",
    "emit",
    "err",
    "instant",
    "out",
    "show",
    "show_events",
    "show_run",
    "show_runs",
    "show_why",
    "stage",
    "table",
]

_UNBOUNDED = 500
"""Columns where nobody looks: what is piped into another program is not cut to the width of a screen."""

_EVENTS = 5
"""The last that a cluster said; `nexus events` shows them all."""

_COLOURS = {
    Stage.COMPLETED: "green",
    Stage.CANCELLED: "yellow",
    Stage.BUFFERED: "cyan",
    Stage.RUNNING: "blue",
}


def out() -> Console:
    return Console(width=None if sys.stdout.isatty() else _UNBOUNDED, highlight=False, soft_wrap=False)


def err() -> Console:
    return Console(stderr=True, width=None if sys.stderr.isatty() else _UNBOUNDED, highlight=False)


def emit(document: object) -> None:
    """One JSON document on a line of its own, seen at once by who reads a stream of them."""
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()


def instant(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def elapsed(span: timedelta) -> str:
    """To a tenth of a second for short spans: `3.2s`, `2m05s`, `1h02m`."""
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def stage(of: Stage) -> str:
    return f"[{_COLOURS.get(of, 'red')}]{of.value}[/]"


def show(shown: Table) -> None:
    """Without the blanks that pad the last column: they are in the way of who copies or searches."""
    console = out()
    with console.capture() as captured:
        console.print(shown)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def table(*columns: str, widest: str = "") -> Table:
    """Plain columns; only `widest` is wrapped where the screen is narrow."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, no_wrap=column != widest, overflow="fold")
    return shown


def show_runs(runs: Sequence[RunView]) -> None:
    if not runs:
        err().print("no such runs")
        return
    shown = table("ID", "ALGORITHM", "STAGE", "RECEIVED", "TOOK", "TAG", widest="TAG")
    for run in runs:
        took = elapsed(run.ended_at - run.received_at) if run.ended_at else _state(run)
        shown.add_row(
            run.request_id,
            escape(run.algorithm),
            stage(run.stage),
            instant(run.received_at),
            took,
            escape(run.tag),
        )
    show(shown)


def _state(run: RunView) -> str:
    if run.unheard_since:
        return f"{run.state}, unheard since {instant(run.unheard_since)}"
    return f"{run.state}: {run.stalled.category}" if run.stalled else run.state


def show_run(run: RunView) -> None:
    fields = {
        "run": run.request_id,
        "algorithm": escape(run.algorithm),
        "stage": stage(run.stage) if run.ended else f"{stage(run.stage)} ({run.state})",
        "cluster": f"{escape(run.cluster)}, workgroup {escape(run.workgroup)}",
        "unheard": f"[yellow]the cluster has not answered since {instant(run.unheard_since)}[/]"
        if run.unheard_since
        else "",
        "tag": escape(run.tag),
        "parent": f"{run.parent.request_id} of {escape(run.parent.algorithm_name)}" if run.parent else "",
        "dry run": "yes" if run.dry_run else "",
        "received": instant(run.received_at),
        "placed": instant(run.sent_at),
        "started": instant(run.started_at),
        "ended": instant(run.ended_at),
        "took": elapsed(run.ended_at - run.received_at) if run.ended_at else "",
        "parked": f"until {instant(run.deferred_until)}: {escape(run.deferred_because)}"
        if run.deferred_until
        else "",
        "result": escape(run.result_uri) or _no_result(run),
    }
    if run.stalled:
        fields |= {
            "hangs in": f"[yellow]{escape(run.stalled.category)}[/] since {instant(run.stalled_since)}",
            "details": escape(run.stalled.details),
            "hint": f"[bold]{escape(run.stalled.hint)}[/]",
        }
    _show_fields(fields.items())


def _no_result(run: RunView) -> str:
    return "none was reported" if run.stage is Stage.COMPLETED and not run.dry_run else ""


def show_why(run: RunView, events: Sequence[RunEvent]) -> None:
    """Why a run did not complete: cause, details, hint, its attempts, the cluster's words, and the last that it wrote."""
    if run.diagnosis is None:
        return
    diagnosis = run.diagnosis
    evidence = evidence_of(events) or Evidence()
    _show_fields(
        [
            ("category", escape(diagnosis.category)),
            ("cause", f"[red]{escape(diagnosis.cause)}[/]" if diagnosis.cause else ""),
            ("details", escape(diagnosis.details)),
            ("hint", f"[bold]{escape(diagnosis.hint)}[/]" if diagnosis.hint else ""),
            ("attempts", escape("\n".join(attempts(evidence)))),
            ("events", escape("\n".join(evidence.events[-_EVENTS:]))),
            ("evidence", escape(evidence.note)),
        ]
    )
    show_log_tail(evidence)


def show_log_tail(evidence: Evidence) -> None:
    if evidence.log_tail:
        of = f"the log of {escape(evidence.log_of)}" if evidence.log_of else "its log"
        out().print(f"\n[bold]the last lines of {of}[/]")
        out().print(evidence.log_tail.rstrip("\n"), markup=False, soft_wrap=True)


def show_events(events: Sequence[RunEvent]) -> None:
    shown = table("TIME", "EVENT", "SAID", widest="SAID")
    for event in events:
        shown.add_row(instant(event.time), event.type, escape(said(event)))
    show(shown)
    show_log_tail(evidence_of(events) or Evidence())


def _show_fields(fields: Iterable[tuple[str, str]]) -> None:
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="dim", no_wrap=True, min_width=9)
    shown.add_column(overflow="fold")
    for name, value in fields:
        if value:
            shown.add_row(name, value)
    show(shown)
