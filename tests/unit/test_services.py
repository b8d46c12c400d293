"""Installing servers and minding their processes, without any server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from infra.services import ServiceError, cassandra, kafka, kubernetes, server
from infra.services.cache import installed
from infra.services.lending import lent
from infra.services.process import Component
from infra.services.server import Server, free_ports

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"

POLITE = "import time; print('up', flush=True); time.sleep(600)"


def component(folder: Path, code: str, timeout: float = 30) -> Component:
    log = folder / "it.log"
    return Component("it", folder, [sys.executable, "-c", code], lambda: "up" in log.read_text(), timeout)


class Sleeper(Server):
    name = "sleeper"
    usual_ports: ClassVar[dict[str, int]] = {}

    def install(self) -> None: ...
    def prepare(self) -> None: ...

    @property
    def variables(self) -> dict[str, str]:
        return {}

    @property
    def components(self) -> list[Component]:
        return [component(self.folder, POLITE)]


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").touch()
        raise ServiceError("no more disk")

    target = tmp_path / "programs"
    with pytest.raises(ServiceError):
        installed(target, broken)
    assert not list(tmp_path.glob("programs*/"))
    installed(target, lambda folder: (folder / "whole").touch())
    assert [file.name for file in target.iterdir()] == ["whole"]


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "programs.part-1").mkdir()
    installed(tmp_path / "programs", lambda folder: None)
    assert [found.name for found in tmp_path.iterdir() if found.is_dir()] == ["programs"]


def test_only_one_of_many_builds(tmp_path: Path) -> None:
    builds: list[Path] = []
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(installed, tmp_path / "programs", builds.append)
    assert len(builds) == 1


def test_a_process_is_started_once_and_found_again_by_whoever_looks(tmp_path: Path) -> None:
    component(tmp_path, STUBBORN).start()
    try:
        found = component(tmp_path, STUBBORN)
        found.wait_ready()
        found.start()
        assert found.running()
        assert (tmp_path / "it.log").read_text() == "up\n"
    finally:
        component(tmp_path, STUBBORN).kill()
    assert not found.running()


def test_a_process_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    stubborn = component(tmp_path, STUBBORN)
    stubborn.start()
    stubborn.wait_ready()
    stubborn.stop()
    assert not stubborn.running()


def test_another_process_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    stranger = component(tmp_path / "stranger", STUBBORN)
    stranger.start()
    mark = json.loads((stranger.folder / "it.pid").read_text())
    ours = component(tmp_path, STUBBORN)
    (tmp_path / "it.pid").write_text(json.dumps(mark | {"started": mark["started"] - 100}))
    try:
        assert not ours.running()
        ours.kill()
        assert stranger.running()
    finally:
        stranger.kill()


def test_a_process_that_ends_while_it_starts_says_its_last_words(tmp_path: Path) -> None:
    broken = component(tmp_path, "raise SystemExit('the disk is full')")
    broken.start()
    with pytest.raises(ServiceError, match=r"it ended while it started(.|\n)*the disk is full"):
        broken.wait_ready()


def test_a_process_that_never_serves_says_its_last_words(tmp_path: Path) -> None:
    silent = component(tmp_path, "import time; print('waiting', flush=True); time.sleep(600)", timeout=2)
    silent.start()
    try:
        with pytest.raises(ServiceError, match=r"does not serve after 2 s(.|\n)*waiting"):
            silent.wait_ready()
    finally:
        silent.kill()


def test_a_process_outlives_who_started_it(tmp_path: Path) -> None:
    starter = "import sys, pathlib; from tests.unit.test_services import *; component(pathlib.Path(sys.argv[1]), STUBBORN).start()"
    subprocess.run([sys.executable, "-c", starter, tmp_path], cwd=Path(__file__).parents[2], check=True)
    orphan = component(tmp_path, STUBBORN)
    try:
        orphan.wait_ready()
        assert os.getsid(json.loads((tmp_path / "it.pid").read_text())["pid"]) != os.getsid(0)
    finally:
        orphan.kill()


def test_a_crash_between_two_looks_is_seen(tmp_path: Path) -> None:
    victim = component(tmp_path, STUBBORN)
    victim.start()
    psutil.Process(json.loads((tmp_path / "it.pid").read_text())["pid"]).send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while victim.running():
        assert time.monotonic() < end
    victim.start()
    victim.wait_ready()
    victim.kill()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"sleeper: port {port} \\(only\\) belongs to another process"):
            Sleeper(tmp_path / "state", {"only": port}).start()


def test_a_component_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"sleeper has no .*'etcd'.*'it'"):
        Sleeper(tmp_path).kill("etcd")


def test_a_lent_server_ends_with_its_last_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with lent(Sleeper) as first:
        with lent(Sleeper) as second:
            assert second.folder == first.folder
        assert first.healthy()
    assert not first.running()


def test_a_server_that_ran_before_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    usual = Sleeper()
    usual.start()
    try:
        with lent(Sleeper) as same:
            assert same.folder == usual.folder
        assert usual.healthy()
    finally:
        usual.kill()


def test_what_a_killed_user_left_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    left = Sleeper(tmp_path / "nexus" / "services" / "lent" / "sleeper")
    left.start()
    (left.folder / "data").touch()
    with lent(Sleeper) as fresh:
        assert fresh.folder == left.folder
        assert not (fresh.folder / "data").exists()


@pytest.mark.parametrize(
    ("module", "file", "pattern"),
    [
        (kafka, "pom.xml", r"<artifactId>kafka_2.13</artifactId><version>(.+?)</version>"),
        (cassandra, "pom.xml", r"<artifactId>cassandra-all</artifactId><version>(.+?)</version>"),
        (kubernetes, "go.mod", r"k8s.io/kubernetes v(\S+)"),
    ],
)
def test_the_version_that_is_said_is_the_one_that_is_installed(module, file, pattern) -> None:
    recipe = Path(module.__file__).with_name(file).read_text()
    assert re.findall(pattern, recipe) == [module.VERSION]


def test_no_acknowledged_write_is_lost_by_a_crash_of_cassandra() -> None:
    settings = Path(cassandra.__file__).with_name("cassandra.yaml").read_text()
    assert "commitlog_sync: batch\n" in settings


def test_a_port_that_was_given_is_given_to_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens there while its server is killed and starts again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(server, "_given", {})
    port = free_ports({"http": 0})["http"]
    asks = f"from infra.services.server import _reserve; raise SystemExit(_reserve({port}))"

    def refused() -> bool:
        return subprocess.run([sys.executable, "-c", asks], check=False).returncode == 0

    assert refused()
    server._given.clear()
    assert not refused()
