"""Whatever others wrote is shown on a terminal as it is, and nothing of it is obeyed."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from rich.text import Text
from typer.testing import CliRunner

from api.own.runs import _view
from nexus.cli import app, render
from nexus.cli.plain import plain, plain_json
from nexus.domain.events import Event, Evidence, RunFailed, RunStalled, encode_event, event_id
from nexus.views import RunEvent
from tests.support.factories import diagnosis, fact, folded, job_created, run_requested

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnol\u2066 [bold]loud[/bold] :warning: [link=http://evil]x[/link]\r\x7f"
"""Retitles the window, clears the screen, colours by a C1 control, turns the direction of text round."""
SHOWN = (
    r"\x1b]0;owned\x07",
    r"\x1b[2J",
    r"\x9b31m",
    r"\u202e",
    r"\u2066",
    "[bold]loud[/bold] :warning: [link=http://evil]",
)
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

FAILED = fact(
    RunFailed,
    90,
    diagnosis=diagnosis(category=HOSTILE, cause=HOSTILE, details=HOSTILE, hint=HOSTILE),
    evidence=Evidence(events=(HOSTILE,), log_tail=f"{HOSTILE}\n{HOSTILE}", log_of=HOSTILE, note=HOSTILE),
)
STALLED = fact(RunStalled, 60, diagnosis=diagnosis(category=HOSTILE, details=HOSTILE, hint=HOSTILE))


def event(of: Event) -> RunEvent:
    return RunEvent(event_id(of), HOSTILE, of.at, 1, msgspec.json.decode(encode_event(of)))


def failed():
    return _view(folded(job_created(), FAILED, request=run_requested(tag=HOSTILE)), None)


def stalled():
    return _view(folded(job_created(), STALLED, request=run_requested(tag=HOSTILE)), None)


SHOWS: dict[str, Callable[[], None]] = {
    "list": lambda: render.show_runs([failed(), stalled()]),
    "get": lambda: render.show_run(failed()),
    "get of one that hangs": lambda: render.show_run(stalled()),
    "why": lambda: render.show_why(failed(), [event(FAILED)]),
    "events": lambda: render.show_events([event(FAILED)]),
    "a line": lambda: render.out().print(HOSTILE),
    "a styled line": lambda: render.out().print(render.styled(HOSTILE, "bold")),
    "several": lambda: render.out().print("x", HOSTILE, sep=" "),
}


@pytest.mark.parametrize("show", SHOWS.values(), ids=SHOWS)
def test_what_is_hostile_is_shown_and_not_obeyed(
    capsys: pytest.CaptureFixture[str], show: Callable[[], None]
):
    show()
    shown = capsys.readouterr().out
    assert not OBEYED.search(shown)
    for words in SHOWN:
        assert words in shown


def test_a_text_that_was_made_elsewhere_is_not_obeyed_either(capsys: pytest.CaptureFixture[str]):
    render.out().print(Text("\x1b[2J"))
    assert capsys.readouterr().out == "\\x1b[2J\n"


def test_columns_are_as_wide_as_what_they_show(capsys: pytest.CaptureFixture[str]):
    shown = render.table("NAME", "NEXT")
    shown.add_row("\x1b[2J", "here")
    shown.add_row("plain", "here")
    render.show(shown)
    assert len({line.index("here") for line in capsys.readouterr().out.splitlines()[1:]}) == 1


def test_line_ends_and_tabs_stay():
    assert plain("one\r\ntwo\n\tthree \N{LATIN SMALL LETTER E WITH ACUTE}") == "one\ntwo\n\tthree \xe9"
    assert plain("50%\r100%") == r"50%\x0d100%"


def test_json_says_the_same_and_is_safe_to_look_at(capsys: pytest.CaptureFixture[str]):
    render.emit({"tag": HOSTILE})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"tag": HOSTILE}
    assert not OBEYED.search(shown)
    assert plain_json('{"a":"b"}') == '{"a":"b"}'


@pytest.fixture
def hostile_server() -> Iterator[str]:
    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Type", "application/problem+json")
            self.end_headers()
            self.wfile.write(json.dumps({"detail": HOSTILE}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hostile) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_error_is_shown_and_not_obeyed(hostile_server: str):
    result = CliRunner().invoke(app, ["list", "--url", hostile_server])
    assert result.exit_code == 1
    assert not OBEYED.search(result.stderr)
    assert r"\x1b]0;owned\x07" in result.stderr


LOGS = """
import logging, structlog, sys
from nexus.cli.logging_setup import configure
from nexus.config import Logging

configure(Logging(format=sys.argv[1]))
hostile = sys.argv[2]
structlog.get_logger().warning(hostile, **{"key": hostile, "list": [hostile]})
logging.getLogger("library").warning("%s", hostile)
try:
    raise ValueError(hostile)
except ValueError:
    structlog.get_logger().exception("failed")
    logging.getLogger("library").exception("failed")
"""


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("form", ["console", "json"])
def test_log_lines_are_shown_and_not_obeyed(form: str, terminal: bool):
    ours, theirs = pty.openpty() if terminal else (None, subprocess.PIPE)
    done = subprocess.run([sys.executable, "-c", LOGS, form, HOSTILE], stderr=theirs, check=True)
    if ours is not None:
        with os.fdopen(ours, "rb") as there:
            said = there.read1(1 << 16).decode().replace("\r\n", "\n")
    else:
        said = done.stderr.decode()
    assert said.count("owned") >= 4
    colours = re.compile("\x1b\\[[0-9;]*m")
    assert not OBEYED.search(colours.sub("", said))
    assert "\x1b[2J" not in said


FULL = """
import resource, structlog
from nexus.cli.logging_setup import configure
from nexus.config import Logging

configure(Logging(format="json"))
structlog.get_logger().warning("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
structlog.get_logger().warning("on a full disk")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
structlog.get_logger().warning("after")
print("goes on")
"""


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path):
    log = tmp_path / "log"
    with log.open("wb") as errors:
        done = subprocess.run([sys.executable, "-c", FULL], stdout=subprocess.PIPE, stderr=errors, check=True)
    assert done.stdout == b"goes on\n"
    said = log.read_text()
    assert "before" in said
    assert "after" in said
