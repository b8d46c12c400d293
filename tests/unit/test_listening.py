"""How many connections the system's limits leave: in a process of its own, because it changes its limits."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource
from nexus.composition.listening import connections
from nexus.config import Http
from nexus.domain.errors import ConfigError
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
try:
    print(connections(Http(max_connections={wanted})), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
except ConfigError as error:
    print("ConfigError", error)
"""


def asked(soft: int, hard: int, wanted: int) -> str:
    code = CODE.format(soft=soft, hard=hard, wanted=wanted)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_limit_of_open_files_is_raised_as_far_as_is_needed():
    assert asked(256, 5000, 1000) == "1000 1512\n"
    assert asked(4000, 5000, 1000) == "1000 4000\n"


def test_fewer_connections_are_held_where_the_system_allows_no_more():
    said = asked(256, 1600, 10_000)
    assert said.splitlines()[-1] == "1088 1600"
    assert "fewer_connections" in said
    assert "raise the limit to 10512 (ulimit -Hn)" in said


@pytest.mark.parametrize("hard", [256, 600])
def test_a_limit_that_leaves_next_to_none_is_an_error(hard):
    said = asked(256, hard, 10_000)
    assert said.startswith(f"ConfigError the system allows this process {hard} open files")
    assert "http.max_connections" in said
