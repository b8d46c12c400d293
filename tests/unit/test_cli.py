"""The command line, against a real `nexus dev` and against state folders made for the purpose."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from nexus.cli import app
from nexus.client import Client
from nexus.domain.topics import DEAD_LETTERS, RESULTS, RUNS, NewRecord, requests_of, to_record
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.state import StateFolder
from tests.support.factories import CLUSTER, REQUEST_ID, job_created, run_requested

EXAMPLES = Path(__file__).parents[2] / "examples"
NO_SUCH_RUN = "01900000-0000-7000-8000-000000000000"


def nexus(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def refused(result, code, *words):
    """One line on stderr that says these words, and nothing else anywhere."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("cli") / "state"


@pytest.fixture(scope="module")
def server(state):
    """The address of a `nexus dev` with the failing examples. It stops as a person would stop it."""
    flags = [
        "--state",
        str(state),
        "--templates",
        str(EXAMPLES / "failures"),
        "--port",
        str(free_port()),
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "nexus", "dev", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = json.loads(process.stdout.readline())
    assert said["algorithms"] == ["failures", "missing-command"]
    assert said["docs"] == f"{said['url']}/docs"
    until(lambda: nexus("list", "--url", said["url"]).exit_code == 0)
    yield said["url"]
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert stderr.splitlines()[-1] == f"stopped; everything accepted is kept in {state}"


@pytest.fixture
def ask(server, state):
    """A command to that server, beside its state folder."""

    def call(*arguments, **options):
        environment = {"NEXUS_URL": server, "NEXUS_STATE": str(state)}
        return nexus(*arguments, env=environment, **options)

    return call


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def payload(mode, **members):
    return json.dumps({"mode": mode, **members})


def submitted(ask, *arguments):
    return ask("run", "failures", "--no-wait", *arguments).stdout.strip()


# Without a server


def test_version():
    assert nexus("--version").stdout.startswith("nexus ")


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))
def test_every_command_has_help_with_an_example(command):
    result = nexus(command, "--help")
    assert result.exit_code == 0
    assert "Example: nexus" in result.stdout


@pytest.mark.parametrize("command", typer.main.get_command(app).commands.values(), ids=lambda each: each.name)
def test_help_begins_with_one_short_sentence_and_does_not_break_within_one(command):
    first, *rest = command.help.split("\n\n")
    assert len(first) <= 100
    for paragraph in (first, *rest):
        assert paragraph[0].isupper()
        assert paragraph.endswith(".")
        assert "\n" not in paragraph


@pytest.mark.parametrize("role", ["api", "receiver", "scheduler", "ledger", "watcher", "supervisor"])
def test_a_role_alone_refuses_the_embedded_engines(role):
    refused(nexus(role, "--port", str(free_port())), 2, "NEXUS__", "use `nexus dev` here")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["get", "nonsense"], ["requestId", "is not a UUID"]),
        (["list", "--since", "yesterday"], ["--since", "2026-01-31T12:00:00Z"]),
        (["list", "--since", "9999999h"], ["--since", "9999999h", "between zero and ten years"]),
        (["list", "--until", "0h"], ["--until", "between zero and ten years"]),
        (["list", "--until", "2026-01-31T12:00:00"], ["--until", "time zone", "2026-01-31T12:00:00Z"]),
        (["list", "--parent", "x"], ["is not a UUID"]),
        (["list", "--url", "here"], ["'here'", "http://127.0.0.1:8080"]),
        (["run", "x", "--payload", "no-such-file.json"], ["--payload", "no-such-file.json", "No such file"]),
        (["run", "x", "--payload", '{"a": '], ["--payload", "is not JSON"]),
        (["run", "x", "--payload", "-"], ["--payload", "standard input is not a JSON object"]),
        (["run", "x", "--timeout", "5"], ["--timeout", "'24h'"]),
        (["run", "x", "--parent", REQUEST_ID], ["--parent-algorithm"]),
        (["run", "x", "--config-override", "no-such-file"], ["--config-override", "No such file"]),
        (["run", "..", "--payload", "{}"], ["algorithm", "'..'"]),
        (["run", "x", "--key", "ü"], ["Idempotency-Key"]),
        (["config", "--config", "no-such-file"], ["no-such-file", "cannot be read"]),
        (["results", "--state", "no-such-state"], ["no-such-state", "nexus dev"]),
        (["replay", "--state", "no-such-state"], ["no-such-state", "nexus dev"]),
        (["verify", "--state", "no-such-state"], ["no-such-state", "nexus dev"]),
        (["rebuild", "--state", "no-such-state"], ["no-such-state", "nexus dev"]),
        (["dev", "--templates", "no-such-folder"], ["no-such-folder", "--templates"]),
        (["dev", "--slots", "0", "--templates", "."], ["cluster.slots"]),
    ],
)
def test_what_cannot_be_used_is_named_with_what_to_do(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(nexus(*arguments, input="[1]"), 2, *words)


def test_nobody_answers():
    refused(
        nexus("list", "--url", f"http://127.0.0.1:{free_port()}"),
        1,
        "no Nexus answers",
        "`nexus dev`",
        "--url",
    )


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>", ["is not from a Nexus", "--url"]),
        (500, b"oh\nno", ["500", "oh no"]),
        (503, b'{"detail": "behind"}', ["behind"]),
        (404, b"", ["404", "/api/v1/runs"]),
    ],
)
def test_answers_of_another_server(status, body, words):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Not to stderr."""

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        serving = threading.Thread(target=other.handle_request)
        serving.start()
        refused(nexus("list", "--url", f"http://127.0.0.1:{other.server_port}"), 1, *words)
        serving.join()


def test_configuration_is_shown_without_its_secrets(tmp_path):
    file = tmp_path / "nexus.yaml"
    file.write_text("http: {port: 9000}\npayload: {sign-secret: hush-hush-hush-hush-hush-hush-hush}\n")
    shown = nexus("config", "--config", file, env={"NEXUS__CLUSTER__SLOTS": "7"})
    assert "hush" not in shown.stdout
    tree = yaml.safe_load(shown.stdout)
    assert (tree["http"]["port"], tree["cluster"]["slots"]) == (9000, 7)
    assert json.loads(nexus("config", "--config", file, "--json").stdout)["http"]["port"] == 9000


def test_dev_leaves_the_folder_of_another_nexus_alone(tmp_path):
    command = [sys.executable, "-m", "nexus", "dev", "--state", str(tmp_path / "state"), "--templates", "."]
    with StateFolder(tmp_path / "state").owned():
        result = subprocess.run(
            [*command, "--port", str(free_port())], capture_output=True, text=True, check=False
        )
    assert result.returncode == 2
    assert "in use by another Nexus" in result.stderr
    assert "Traceback" not in result.stderr


# With a server


def test_a_run_that_completes(ask):
    result = ask("run", "failures", "--payload", payload("success"), "--tag", "nightly", "--json")
    assert result.exit_code == 0
    run = json.loads(result.stdout)
    assert (run["stage"], run["resultUri"], run["tag"]) == ("COMPLETED", "data:,ok", "nightly")
    shown = ask("get", run["requestId"])
    assert "data:,ok" in shown.stdout
    assert json.loads(ask("get", run["requestId"], "--json").stdout)["stage"] == "COMPLETED"
    assert ask("get", run["requestId"], "--follow").exit_code == 0


def test_a_run_that_fails_says_why(ask):
    result = ask("run", "failures", "--payload", payload("raise"))
    assert result.exit_code == 1
    words = [
        "FAILED",
        "no retries left",
        "hint",
        "exit code 1 (Error)",
        "BackoffLimitExceeded",
        "the last lines of the log of",
        "RuntimeError: nobody caught this",
    ]
    for word in words:
        assert word in result.stdout
    request_id = result.stderr.split()[-1]
    again = ask("get", request_id)
    assert again.exit_code == 0
    for word in words:
        assert word in again.stdout


def test_payloads_come_from_a_file_and_from_standard_input(ask):
    file = EXAMPLES / "failures" / "payloads" / "success.json"
    assert ask("run", "failures", "--payload", file).exit_code == 0
    assert ask("run", "failures", "--payload", "-", input=file.read_text()).exit_code == 0


def test_overrides_are_applied(ask, tmp_path):
    file = tmp_path / "override.yaml"
    file.write_text("computeResources: {memoryLimit: 64Mi}\n")
    request_id = submitted(ask, "--dry-run", "--config-override", file)
    (event,) = (
        json.loads(line)
        for line in ask(
            "replay", "--run", request_id, "--topic", requests_of("standalone")
        ).stdout.splitlines()
    )
    assert event["data"]["spec"]["computeResources"]["memoryLimit"] == "64Mi"


def test_a_key_makes_a_retry_safe(ask):
    first, again = (submitted(ask, "--dry-run", "--key", "only-once") for _ in range(2))
    assert first == again
    other = ask("run", "failures", "--dry-run", "--key", "only-once", "--payload", '{"other": 1}')
    refused(other, 2, "only-once", "use a new key")


def test_what_the_server_refuses(ask):
    refused(ask("get", NO_SUCH_RUN), 1, f"there is no run {NO_SUCH_RUN}")
    refused(ask("events", NO_SUCH_RUN), 1, NO_SUCH_RUN)
    refused(ask("cancel", NO_SUCH_RUN), 1, NO_SUCH_RUN)
    refused(ask("run", "no-such-algorithm"), 2, "no-such-algorithm", "spelled correctly")
    parent = ("--parent", NO_SUCH_RUN, "--parent-algorithm", "failures")
    refused(ask("run", "failures", *parent), 2, "parentRequest", NO_SUCH_RUN)


def test_list_pages_until_the_limit(ask):
    ids = [submitted(ask, "--dry-run", "--tag", "paged") for _ in range(3)]

    def listed(*arguments):
        return [run["requestId"] for run in json.loads(ask("list", "--json", *arguments).stdout)]

    assert listed("--tag", "paged") == ids[::-1]
    assert listed("--tag", "paged", "--limit", "2") == ids[:0:-1]
    completed = ("--tag", "paged", "--since", "1h", "--algorithm", "failures", "--stage", "completed")
    until(lambda: listed(*completed) == ids[::-1])
    assert listed("--tag", "paged", "--until", "1h") == []
    table = ask("list", "--tag", "paged").stdout
    assert all(request_id in table for request_id in ids)
    assert ask("list", "--tag", "no such tag").stdout == ""


def test_cancel_and_history(ask):
    request_id = submitted(ask, "--payload", payload("sleep", seconds=60))
    refused_after = ask(
        "run", "failures", "--payload", payload("sleep", seconds=60), "--timeout", "300ms", "--json"
    )
    refused(refused_after, 1, "--timeout", "it goes on", "nexus get", "--follow")
    left = json.loads(ask("list", "--json", "--limit", "1").stdout)[0]["requestId"]
    assert "is cancelled" in ask("cancel", left).stdout

    assert "is cancelled" in ask("cancel", request_id, "--reason", "too [slow]", "--initiator", "me").stdout
    again = ask("cancel", request_id)
    assert again.exit_code == 0
    assert "had ended before: CANCELLED" in again.stdout
    followed = ask("get", request_id, "--follow")
    assert followed.exit_code == 1
    assert "Cancelled by 'me'" in followed.stdout
    shown = ask("events", request_id).stdout
    assert "too [slow]" in shown
    assert shown.index("RunRequested") < shown.index("RunCancelled")
    assert json.loads(ask("events", request_id, "--json").stdout)[0]["type"] == "RunRequested"


def test_members_without_effect_are_named_on_stderr(ask, tmp_path):
    overrides = tmp_path / "overrides.yaml"
    overrides.write_text("{command: bash, containr: {image: x}}")
    result = ask("run", "failures", "--dry-run", "--no-wait", "--config-override", overrides)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.split()) == 1
    assert "warning: customConfiguration.command is ignored" in result.stderr
    assert "warning: customConfiguration.containr is ignored: there is no such member." in result.stderr


def test_ctrl_c_leaves_the_run_running(ask, server):
    command = [sys.executable, "-m", "nexus", "run", "failures", "--payload", payload("sleep", seconds=60)]
    following = subprocess.Popen(
        [*command, "--url", server],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a shell may ignore it for us
    )
    request_id = following.stderr.readline().split()[-1]
    with Client(server) as client:
        until(lambda: client.run(request_id).state == "running")
        following.send_signal(signal.SIGINT)
        stdout, stderr = following.communicate(timeout=30)
        assert (following.returncode, stdout) == (130, "")
        assert f"the run goes on; follow it with `nexus get {request_id} --follow" in stderr
        assert not client.run(request_id).ended
        client.cancel("failures", request_id)


def test_results_and_replay_read_the_log_beside_the_server(ask):
    request_id = json.loads(ask("run", "failures", "--dry-run", "--tag", "told", "--json").stdout)[
        "requestId"
    ]

    def told():
        lines = ask("results", "--no-follow", "--json", "--algorithm", "failures").stdout.splitlines()
        return [event for event in map(json.loads, lines) if event["subject"] == request_id]

    (event,) = until(told)
    assert event["type"] == "nexus.RunEnded.v1"
    assert (event["data"]["status"], event["data"]["tag"]) == ("COMPLETED", "told")
    assert request_id in ask("results", "--no-follow").stdout
    assert ask("results", "--no-follow", "--algorithm", "other").stdout == ""

    replayed = [json.loads(line) for line in ask("replay", "--run", request_id, "--json").stdout.splitlines()]
    assert [event["type"] for event in replayed] == ["nexus.RunRequested.v1", "nexus.RunCompleted.v1"]
    assert replayed[0].keys() == {
        "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "topic", "partition", "offset", "data"
    }  # fmt: skip
    assert ask("replay", "--run", request_id, "--until", "1h").stdout == ""
    refused(ask("replay", "--topic", "other"), 2, "'other'", RESULTS)


def test_results_are_followed(server, state):
    command = [sys.executable, "-m", "nexus", "results", "--from-beginning", "--json", "--state", str(state)]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with Client(server) as client:
        request_id = client.submit("failures", b"{}", dry_run=True)
    for line in following.stdout:
        if json.loads(line)["subject"] == request_id:
            break
    following.terminate()
    following.communicate(timeout=30)


def test_verify_beside_the_server(ask):
    for _ in range(3):
        submitted(ask, "--dry-run")
        result = ask("verify", "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["differences"] == []
    refused(ask("rebuild"), 2, "in use by another Nexus")


# On state folders


def appended(folder, *records):
    topics = {requests_of(CLUSTER): 2, RUNS: 2, RESULTS: 2, DEAD_LETTERS: 1}

    async def append(log):
        await log.append(records)
        return {
            (topic, number): await log.end(topic, number)
            for topic in topics
            for number in range(topics[topic])
        }

    folder.root.mkdir(exist_ok=True)
    with closing(SqliteEventLog(folder.log, topics, time.time)) as log:
        return asyncio.run(append(log))


@pytest.fixture
def folder(tmp_path):
    """A request, a fact of it, and a fact of a run that nobody asked for; the ledger has seen nothing yet."""
    folder = StateFolder(tmp_path / "state")
    stray = job_created(request_id=NO_SUCH_RUN)
    appended(folder, *(to_record(event, "tests") for event in (run_requested(), job_created(), stray)))
    SqliteRunStore(folder.projections).close()
    return folder


def test_what_the_ledger_has_not_reached_is_late_and_not_wrong(folder):
    result = nexus("verify", "--state", folder.root, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"runs": 1, "behind": 1, "differences": []}


def test_a_damaged_projection_is_found_and_made_anew(folder):
    assert nexus("rebuild", "--state", folder.root).exit_code == 0
    assert json.loads(nexus("verify", "--state", folder.root, "--json").stdout)["behind"] == 0
    with closing(sqlite3.connect(folder.projections)) as damage, damage:
        damage.execute("UPDATE runs SET state = replace(CAST(state AS text), 'job-uid', 'other-uid')")
    result = nexus("verify", "--state", folder.root)
    assert result.exit_code == 1
    assert REQUEST_ID in result.stdout
    assert "job_uid" in result.stdout
    assert nexus("rebuild", "--state", folder.root, "--json").stdout == '{"records":3}\n'
    assert nexus("verify", "--state", folder.root).exit_code == 0


def test_a_file_that_is_no_database_is_made_anew(folder):
    shutil.copy(__file__, folder.projections)
    refused(nexus("verify", "--state", folder.root), 1, "not a database", "nexus rebuild")
    assert nexus("rebuild", "--state", folder.root).exit_code == 0
    assert nexus("verify", "--state", folder.root).exit_code == 0


@pytest.mark.parametrize("command", ["verify", "rebuild", "replay", "results"])
def test_a_damaged_log_is_named_as_the_log(folder, command):
    arguments = ["--no-follow"] if command == "results" else []
    shutil.copy(__file__, folder.log)
    result = nexus(command, "--state", folder.root, *arguments)
    refused(result, 1, str(folder.log), "is damaged", "event log", "restore", "back-up")
    assert "nexus rebuild" not in result.stderr


def test_the_audit_appends_nothing(folder):
    before = appended(folder)
    nexus("verify", "--state", folder.root)
    nexus("rebuild", "--state", folder.root)
    assert appended(folder) == before
    assert not [file for file in folder.root.iterdir() if "fresh" in file.name]


def test_projections_that_are_not_there_are_asked_for(folder):
    folder.projections.unlink()
    refused(nexus("verify", "--state", folder.root), 2, "no projections", "nexus rebuild")


def test_a_newer_event_stops_the_audit(folder):
    appended(folder, NewRecord(RUNS, REQUEST_ID, b"{}", {"ce_type": "nexus.RunFolded.v9"}))
    for command in ("verify", "rebuild", "replay"):
        result = nexus(command, "--state", folder.root)
        assert result.exit_code == 1
        assert "nexus.RunFolded.v9" in result.stderr
        assert "upgrade" in result.stderr


def test_the_definitions_are_printed_as_kubectl_takes_them():
    printed = list(yaml.safe_load_all(nexus("crds").stdout))
    files = sorted((EXAMPLES.parent / "infra" / "crds").glob("*.yaml"))
    assert printed == [yaml.safe_load(file.read_text()) for file in files]
    assert json.loads(nexus("crds", "--json").stdout) == {
        "apiVersion": "v1",
        "kind": "List",
        "items": printed,
    }
    assert {each["kind"] for each in printed} == {"CustomResourceDefinition"}


def test_the_module_is_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "nexus", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == nexus("--version").stdout
