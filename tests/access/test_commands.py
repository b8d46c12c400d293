"""`nexus dev` that wants to know who asks, by its command line, from a token to what is left of a subject after a rebuild."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from nexus.cli import app
from nexus.embedded.run_store import SqliteRunStore
from nexus.embedded.state import StateFolder
from tests.unit.test_cli import free_port, refused, until

EXAMPLES = Path(__file__).parents[2] / "examples"
TREE = Path(__file__).parent / "tree"
RULES = """
rules:
- {name: team, subjects: ["group:routing"], algorithms: [tsp], verbs: [submit, read, cancel]}
- {name: failures, subjects: ["group:routing"], algorithms: [failures], verbs: [submit, read, audit]}
- {name: trees, subjects: ["group:routing"], algorithms: [tree], verbs: [submit, read]}
- {name: auditors, subjects: ["token:auditor"], verbs: [read, list, audit]}
tenants:
- {name: routing, subjects: ["group:routing"], weight: 3, maxQueued: 100}
"""


def nexus(*arguments, **environment):
    return CliRunner().invoke(app, [str(each) for each in arguments], env=environment)


def made(file, name, *options):
    result = nexus("token", name, *options, "--file", file)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


@pytest.fixture
def installed(tmp_path, request):
    """`nexus dev` with the examples, or with the folder of templates that a test names. The address of a server, its state folder, and the tokens that it knows."""
    tokens = {
        "submitter": made(tmp_path / "tokens.yaml", "submitter", "--group", "routing"),
        "auditor": made(tmp_path / "tokens.yaml", "auditor", "--valid-for", "1h"),
    }
    (tmp_path / "rules.yaml").write_text(RULES)
    state = tmp_path / "state"
    command = [sys.executable, "-m", "nexus", "dev", "--json", "--state", str(state)]
    templates = str(getattr(request, "param", EXAMPLES))
    process = subprocess.Popen(
        [*command, "--port", str(free_port()), "--templates", templates],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=EXAMPLES.parent,
        env=os.environ
        | {
            "NEXUS__AUTH__MODE": "bearer",
            "NEXUS__AUTH__REPORTS": "capability",
            "NEXUS__AUTH__TOKENS_FILE": str(tmp_path / "tokens.yaml"),
            "NEXUS__AUTH__RULES_FILE": str(tmp_path / "rules.yaml"),
        },
    )

    def stop():
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0

    yield json.loads(process.stdout.readline())["url"], state, tokens, stop
    if process.poll() is None:
        stop()


def test_a_subject_is_known_from_its_token_to_a_rebuild(installed, tmp_path):
    url, state, tokens, stop = installed
    me = {"NEXUS_URL": url, "NEXUS_TOKEN": tokens["submitter"]}
    (tmp_path / "token").write_text(tokens["auditor"] + "\n")
    auditor = {"NEXUS_URL": url, "NEXUS_TOKEN_FILE": str(tmp_path / "token")}

    refused(nexus("list", NEXUS_URL=url), 1, "send a bearer token")
    refused(nexus("list", NEXUS_URL=url, NEXUS_TOKEN="nexus_x"), 1, "none of those that are known")
    asked = nexus("can-i", "submit", "tsp", **me)
    assert (asked.exit_code, asked.stdout) == (0, "yes: the rule 'team' allows it\n")
    assert "asked as token:submitter, group:routing" in asked.stderr
    assert "of the tenant routing: weight 3, maxQueued 100" in asked.stderr
    asked = nexus("can-i", "submit", "tsp", "--override", "image", **me)
    assert (asked.exit_code, "does not let the image be chosen" in asked.stdout) == (1, True)

    result = nexus("run", "tsp", "--dry-run", "--no-wait", "--json", **me)
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)["requestId"]
    refused(nexus("run", "digits", "--no-wait", **me), 1, "token:submitter may not submit digits")
    until(lambda: json.loads(nexus("get", run, "--json", **me).stdout)["stage"] == "COMPLETED")

    assert "submitted by  token:submitter" in nexus("get", run, **me).stdout
    assert "tenant        routing" in nexus("get", run, **me).stdout
    refused(nexus("events", run, **me), 1, "may not audit")
    assert "submitted by token:submitter" in " ".join(nexus("events", run, **auditor).stdout.split())
    found = [
        json.loads(line)["data"]["subject"]
        for line in nexus("replay", "--by", "token:submitter", "--state", state).stdout.splitlines()
    ]
    assert found == ["token:submitter"]
    assert nexus("replay", "--by", "user:*", "--state", state).stdout == ""

    # An algorithm as it is: its client keeps the path of the address that it is given.
    ended = nexus("run", "failures", "--payload", '{"mode": "success"}', "--json", **me)
    assert json.loads(ended.stdout)["stage"] == "COMPLETED", ended.output
    for as_whom in ("", "/as/made-up"):
        path = f"{as_whom}/algorithm/v1/complete/tsp/requests/{run}"
        assert httpx.post(url + path, json={"resultUri": "mine"}).status_code == 401

    stop()
    assert nexus("rebuild", "--state", state).exit_code == 0
    store = SqliteRunStore(StateFolder(state).projections)
    assert asyncio.run(store.get(run)).request.subject == "token:submitter"
    store.close()


@pytest.mark.parametrize("installed", [TREE], indirect=True, ids=["tree"])
def test_an_algorithm_submits_a_child_by_the_address_that_it_is_told(installed):
    url, _, tokens, _ = installed
    me = {"NEXUS_URL": url, "NEXUS_TOKEN": tokens["submitter"]}
    ended = nexus("run", "tree", "--payload", '{"depth": 1}', "--json", **me)
    assert ended.exit_code == 0, ended.output
    said = json.loads(json.loads(ended.stdout)["resultUri"].removeprefix("data:,"))
    child = said.pop("child")
    assert said == {"submitted": 202, "alone": 403, "cancel": 403, "own": 200}

    until(lambda: json.loads(nexus("get", child, "--json", **me).stdout)["stage"] == "COMPLETED")
    shown = json.loads(nexus("get", child, "--json", **me).stdout)
    assert shown["submittedBy"] == "token:submitter"
    assert shown["parent"]["requestId"] == json.loads(ended.stdout)["requestId"]


def test_a_token_is_printed_once_and_its_entry_kept(tmp_path):
    file = tmp_path / "tokens.yaml"
    first, second = made(file, "ci"), made(file, "ci", "--group", "a", "--group", "b")
    entries = yaml.safe_load(file.read_text())["tokens"]
    assert [(entry["name"], entry.get("groups")) for entry in entries] == [("ci", None), ("ci", ["a", "b"])]
    assert not {first, second}.intersection(file.read_text().split())
    assert file.stat().st_mode & 0o777 == 0o600
    alone = nexus("token", "ci")
    assert alone.stdout.startswith("nexus_")
    assert "sha256:" in alone.stderr


def test_what_cannot_be_a_token_is_refused(tmp_path):
    refused(nexus("token", "a b"), 2, "--name", "letters")
    refused(nexus("token", "ci", "--file", tmp_path / "none" / "tokens.yaml"), 2, "cannot be written")
    (tmp_path / "other.yaml").write_text("rules: []")
    refused(nexus("token", "ci", "--file", tmp_path / "other.yaml"), 2, "other.yaml")
    assert (tmp_path / "other.yaml").read_text() == "rules: []"
    refused(nexus("list", NEXUS_TOKEN_FILE=str(tmp_path / "none")), 2, "NEXUS_TOKEN_FILE")
