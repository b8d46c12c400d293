"""What a person sees of a run that hangs or has failed."""

from __future__ import annotations

import msgspec
import pytest

from api.own.runs import _view
from nexus.cli.render import show_events, show_run, show_runs, show_why
from nexus.domain.events import Event, Evidence, RunFailed, RunStalled, encode_event, event_id
from nexus.views import RunEvent
from tests.support.factories import completed, diagnosis, fact, folded, job_created, pod_view

STALLED = fact(
    RunStalled,
    60,
    diagnosis=diagnosis(category="ImagePull", details="ErrImagePull: [not] found", hint="Check the name."),
)
ENDED = {"exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-01-02T03:04:06Z"}
EVIDENCE = Evidence(
    pods=(
        pod_view("one", status={"phase": "Failed", "containerStatuses": [{"state": {"terminated": ENDED}}]}),
        pod_view("two", status={"phase": "Failed", "reason": "Evicted"}),
    ),
    events=tuple(f"Event{number}: said" for number in range(9)),
    log_tail="the [last] words\n",
    log_of="one",
    note="cut",
)
FAILED = fact(
    RunFailed, 90, diagnosis=diagnosis(category="OutOfMemory", hint="Give more."), evidence=EVIDENCE
)


def event(of: Event) -> RunEvent:
    return RunEvent(event_id(of), type(of).__name__, of.at, 1, msgspec.json.decode(encode_event(of)))


def test_a_run_that_hangs_shows_in_what_and_since_when_and_what_to_do(capsys: pytest.CaptureFixture[str]):
    run = _view(folded(job_created(), STALLED), None)
    show_run(run)
    shown = capsys.readouterr().out
    for words in ("ImagePull since 2026-01-02 03:05:05Z", "ErrImagePull: [not] found", "Check the name."):
        assert words in shown
    show_runs([run])
    assert "placed: ImagePull" in capsys.readouterr().out
    show_events([event(STALLED)])
    assert "ErrImagePull: [not] found" in capsys.readouterr().out


def test_a_failure_shows_why_what_was_tried_what_was_said_and_what_to_do(capsys: pytest.CaptureFixture[str]):
    run = _view(folded(job_created(), STALLED, FAILED), None)
    show_run(run)
    show_why(run, [event(STALLED), event(FAILED)])
    shown = capsys.readouterr().out
    assert "ImagePull" not in shown
    for words in (
        "OutOfMemory",
        "boom",
        "Give more.",
        "one: exit code 137 (OOMKilled)",
        "two: Failed, Evicted",
        "Event8: said",
        "the last lines of the log of one",
        "the [last] words",
    ):
        assert words in shown
    assert "Event3" not in shown
    show_events([event(FAILED)])
    assert "Event3: said" in capsys.readouterr().out


def test_a_run_that_completed_shows_what_its_algorithm_said_beside_its_result(
    capsys: pytest.CaptureFixture[str],
):
    said = completed(90, result_uri="", details="Traceback ...")
    run = _view(folded(job_created(), said), None)
    show_run(run)
    show_why(run, [event(said)])
    shown = capsys.readouterr().out
    for words in ("none was reported", "Traceback ...", "errorDetails without an errorCause"):
        assert words in shown
    assert "cause  " not in shown
    show_events([event(said)])
    assert "without a result\nTraceback" in "\n".join(
        line.split("RunCompleted")[-1].strip() for line in capsys.readouterr().out.splitlines()
    )
