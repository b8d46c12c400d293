"""How runs and their histories look on a terminal, and as JSON. Answers go to stdout, all else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table
from rich.text import Text

from nexus.cli.history import attempts, evidence_of, said
from nexus.cli.plain import plain_json
from nexus.cli.terminal import err, out, styled
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
    "styled",
    "table",
]

_EVENTS = 5
"""The last that a cluster said; `nexus events` shows them all."""

_COLOURS = {
    Stage.COMPLETED: "green",
    Stage.CANCELLED: "yellow",
    Stage.BUFFERED: "cyan",
    Stage.RUNNING: "blue",
}


def emit(document: object) -> None:
    """One JSON document on a line of its own, seen at once by who reads a stream of them."""
    sys.stdout.write(plain_json(msgspec.json.encode(document).decode()) + "\n")
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


def stage(of: Stage) -> Text:
    return styled(of.value, _COLOURS.get(of, "red"))


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
            run.algorithm,
            stage(run.stage),
            instant(run.received_at),
            took,
            run.tag,
        )
    show(shown)


def _state(run: RunView) -> str:
    if run.unheard_since:
        return f"{run.state}, unreachable since {instant(run.unheard_since)}"
    return f"{run.state}: {run.stalled.category}" if run.stalled else run.state


def show_run(run: RunView) -> None:
    fields: dict[str, str | Text] = {
        "run": run.request_id,
        "algorithm": run.algorithm,
        "stage": stage(run.stage) if run.ended else Text.assemble(stage(run.stage), f" ({run.state})"),
        "cluster": f"{run.cluster}, workgroup {run.workgroup}",
        "unreachable": styled(f"the cluster has not answered since {instant(run.unheard_since)}", "yellow")
        if run.unheard_since
        else "",
        "tag": run.tag,
        "parent": f"{run.parent.request_id} of {run.parent.algorithm_name}" if run.parent else "",
        "dry run": "yes" if run.dry_run else "",
        "submitted by": run.submitted_by,
        "tenant": run.tenant,
        "cancelled by": run.cancelled_by,
        "received": instant(run.received_at),
        "placed": instant(run.sent_at),
        "started": instant(run.started_at),
        "ended": instant(run.ended_at),
        "took": elapsed(run.ended_at - run.received_at) if run.ended_at else "",
        "parked": f"until {instant(run.deferred_until)}: {run.deferred_because}"
        if run.deferred_until
        else "",
        "result": run.result_uri or _no_result(run),
    }
    if run.stalled:
        fields |= {
            "stalled by": Text.assemble(
                (run.stalled.category, "yellow"), f" since {instant(run.stalled_since)}"
            ),
            "details": run.stalled.details,
            "hint": styled(run.stalled.hint, "bold"),
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
            ("category", diagnosis.category),
            ("cause", styled(diagnosis.cause, "red")),
            ("details", diagnosis.details),
            ("hint", styled(diagnosis.hint, "bold")),
            ("attempts", "\n".join(attempts(evidence))),
            ("events", "\n".join(evidence.events[-_EVENTS:])),
            ("evidence", evidence.note),
        ]
    )
    show_log_tail(evidence)


def show_log_tail(evidence: Evidence) -> None:
    if evidence.log_tail:
        of = f"the log of {evidence.log_of}" if evidence.log_of else "its log"
        out().print("\n", styled(f"the last lines of {of}", "bold"), sep="")
        out().print(evidence.log_tail.rstrip("\n"), soft_wrap=True)


def show_events(events: Sequence[RunEvent]) -> None:
    shown = table("TIME", "EVENT", "SAID", widest="SAID")
    for event in events:
        shown.add_row(instant(event.time), event.type, said(event))
    show(shown)
    show_log_tail(evidence_of(events) or Evidence())


def _show_fields(fields: Iterable[tuple[str, str | Text]]) -> None:
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="dim", no_wrap=True, min_width=9)
    shown.add_column(overflow="fold")
    for name, value in fields:
        if value:
            shown.add_row(name, value)
    show(shown)
