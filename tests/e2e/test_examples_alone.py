"""Each example on its own: started as its template says, against a real payload server and receiver."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import psutil
import pytest
import yaml

from nexus.domain.quantity import whole_units
from nexus.domain.template import AlgorithmSpec, Workgroup, algorithm_spec, workgroup_spec
from nexus.domain.validation import check_template, check_workgroup

__all__: list[str] = []

EXAMPLES = Path(__file__).parents[2] / "examples"
REQUEST_ID = "0190a0b0-0000-7000-8000-000000000001"
TEMPLATES = sorted(path for path in EXAMPLES.glob("*/*.yaml") if path.name != "workgroup.yaml")
DIGITS = sorted((EXAMPLES / "digits").glob("*.json"))


class World(ThreadingHTTPServer):
    """Serves one payload and records completions; the first request of each method in `troubles` meets a 503."""

    daemon_threads = True

    def __init__(self, payload: bytes, troubles: frozenset[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.payload = payload
        self.troubles = set(troubles)
        self.completions: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: World

    def do_GET(self) -> None:
        found = self.path == "/payload"
        self._answer(200 if found else 404, self.server.payload if found else b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._answer(202, b"{}"):
            self.server.completions.append((self.path, body))

    def _answer(self, status: int, body: bytes) -> bool:
        healthy = self.command not in self.server.troubles
        if not healthy:
            self.server.troubles.remove(self.command)
            status, body = 503, b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return healthy

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Ended(NamedTuple):
    code: int
    stderr: str
    completions: list[dict[str, str]]


def spec_of(template: Path) -> tuple[str, AlgorithmSpec]:
    manifest = yaml.safe_load(template.read_text())
    return manifest["metadata"]["name"], algorithm_spec(manifest["spec"], "spec")


@contextmanager
def serving(payload: object, troubles: frozenset[str] = frozenset()) -> Iterator[World]:
    with World(json.dumps(payload).encode(), troubles) as world:
        thread = Thread(target=world.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield world
        finally:
            world.shutdown()
            thread.join()


def start(algorithm: str, world: World, cwd: Path, payload_path: str = "/payload") -> subprocess.Popen[str]:
    """The template's command line, as the materialized Job has it; results fall into `cwd`."""
    name, spec = spec_of(EXAMPLES / algorithm / f"{algorithm}.yaml")
    interpreter, script = spec.command.split()
    assert interpreter == "python"
    sas_uri, request_id = spec.args
    return subprocess.Popen(
        [
            sys.executable,
            str(EXAMPLES / algorithm / script),
            sas_uri % f"{world.url}{payload_path}",
            request_id % REQUEST_ID,
        ],
        cwd=cwd,
        env={
            "PATH": os.environ["PATH"],
            "NEXUS__ALGORITHM_NAME": name,
            "NEXUS__CLIENT__RECEIVER": world.url,
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    algorithm: str,
    payload: object,
    cwd: Path,
    *,
    troubles: frozenset[str] = frozenset(),
    path: str = "/payload",
) -> Ended:
    with serving(payload, troubles) as world:
        process = start(algorithm, world, cwd, path)
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
        address = f"/algorithm/v1/complete/{algorithm}/requests/{REQUEST_ID}"
        assert {path for path, _ in world.completions} <= {address}
        return Ended(process.returncode, stderr, [body for _, body in world.completions])


def result_of(ended: Ended) -> dict[str, Any]:
    """The result behind the one completion that was reported."""
    assert ended.code == 0, ended.stderr
    (completion,) = ended.completions
    uri = urlsplit(completion["resultUri"])
    assert uri.scheme == "file", completion
    result: dict[str, Any] = json.loads(Path(unquote(uri.path)).read_text())
    return result


def mode(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((EXAMPLES / "failures" / "payloads" / f"{name}.json").read_text())
    assert payload["mode"] == name
    return payload


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_valid_and_its_workgroup_lies_beside_it(template: Path) -> None:
    name, spec = spec_of(template)
    assert name == template.stem
    check_template(name, spec)
    manifest = yaml.safe_load((template.parent / "workgroup.yaml").read_text())
    workgroup = Workgroup(manifest["metadata"]["name"], workgroup_spec(manifest["spec"], "spec"))
    check_workgroup(workgroup)
    assert (spec.workgroup_ref.name, workgroup.spec.cluster) == (workgroup.name, "standalone")


def test_tsp_finds_the_optimum_of_berlin52_even_when_servers_stumble(tmp_path: Path) -> None:
    payload = json.loads((EXAMPLES / "tsp" / "berlin52.json").read_text())
    result = result_of(run("tsp", payload, tmp_path, troubles=frozenset({"GET", "POST"})))
    assert (result["length"], result["gap"]) == (7542, 0)
    points, tour = payload["coordinates"], result["tour"]
    assert sorted(tour) == list(range(52))
    legs = zip(tour, [*tour[1:], tour[0]], strict=True)
    assert sum(int(math.dist(points[a], points[b]) + 0.5) for a, b in legs) == 7542


@pytest.mark.parametrize("payload", DIGITS, ids=lambda path: path.stem)
def test_digits_learns(payload: Path, tmp_path: Path) -> None:
    wanted = json.loads(payload.read_text())
    result = result_of(run("digits", wanted, tmp_path))
    matrix = result["confusionMatrix"]
    tested = sum(map(sum, matrix))
    assert result["accuracy"] > 0.95
    assert result["accuracy"] == pytest.approx(sum(matrix[digit][digit] for digit in range(10)) / tested)
    assert tested == math.ceil(1797 * wanted["testShare"])
    assert wanted["model"].items() <= result["parameters"].items()


@pytest.mark.parametrize(
    ("algorithm", "payload", "cause"),
    [
        ("tsp", {"name": "nowhere", "coordinates": [[0, 0], [3]], "iterations": 1, "seed": 1}, "ValueError"),
        ("digits", {"model": {"kernel": "no-such"}, "testShare": 0.5, "seed": 1}, "InvalidParameterError"),
        ("failures", {"mode": "no-such"}, "no-such"),
    ],
    ids=["tsp", "digits", "failures"],
)
def test_an_unusable_payload_is_reported(algorithm: str, payload: object, cause: str, tmp_path: Path) -> None:
    ended = run(algorithm, payload, tmp_path)
    assert ended.code == 0, ended.stderr
    (completion,) = ended.completions
    assert completion["resultUri"] == ""
    assert cause in completion["errorCause"]


@pytest.mark.parametrize(
    ("name", "code"),
    [("silent", 0), ("exit", 3), ("raise", 1), ("transient", 75), ("fatal", 42), ("signal", -11)],
)
def test_a_failure_ends_as_its_mode_says_and_reports_nothing(name: str, code: int, tmp_path: Path) -> None:
    ended = run("failures", mode(name), tmp_path)
    assert (ended.code, ended.completions) == (code, [])
    assert ("RuntimeError: nobody caught this" in ended.stderr) is (name == "raise")


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("success", [("data:,ok", None)]),
        ("late", [("data:,first", None), ("data:,second", None)]),
        ("report", [("", "InfeasibleModel: no plan fits")]),
    ],
)
def test_a_report_reaches_the_receiver(
    name: str, reported: list[tuple[str, str | None]], tmp_path: Path
) -> None:
    ended = run("failures", mode(name), tmp_path)
    assert ended.code == 0, ended.stderr
    assert [(body["resultUri"], body.get("errorCause")) for body in ended.completions] == reported


def test_transient_and_fatal_are_what_the_template_declares() -> None:
    _, spec = spec_of(EXAMPLES / "failures" / "failures.yaml")
    errors = spec.error_handling_behaviour
    assert (errors.transient_exit_codes, errors.fatal_exit_codes) == ([75], [42])


def test_memory_outgrows_the_templates_limit(tmp_path: Path) -> None:
    _, spec = spec_of(EXAMPLES / "failures" / "failures.yaml")
    limit = whole_units("memoryLimit", spec.compute_resources.memory_limit)
    with serving(mode("memory")) as world, start("failures", world, tmp_path) as process:
        try:
            seen = psutil.Process(process.pid)
            give_up = time.monotonic() + 30
            while seen.memory_info().rss <= limit:
                assert time.monotonic() < give_up
                time.sleep(0.01)
        finally:
            process.kill()


def test_sleep_outlasts_the_templates_deadline_and_reports_only_then(tmp_path: Path) -> None:
    _, spec = spec_of(EXAMPLES / "failures" / "failures.yaml")
    deadline = spec.runtime_environment.deadline_seconds
    assert deadline is not None
    assert mode("sleep")["seconds"] > deadline
    ended = run("failures", {"mode": "sleep", "seconds": 0.1}, tmp_path)
    assert [body["resultUri"] for body in ended.completions] == ["data:,rested"]


def test_a_payload_that_is_gone_ends_the_process_with_the_reason(tmp_path: Path) -> None:
    ended = run("failures", {}, tmp_path, path="/gone")
    assert (ended.code, ended.completions) == (1, [])
    assert "HTTP Error 404" in ended.stderr
