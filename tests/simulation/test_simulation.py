"""The same seeds are run for the same sources, so that what CI runs was run before the commit."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.simulation import seeds

ROOT = Path(__file__).parents[2]


def simulation(*arguments: str, of: str = "tests.simulation") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", of, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


CONTROLLER = "tests.simulation.configuration"
SHORT, LONG = 50, 250
"""Seeds of `make check`, and of all tests."""


def must_hold(*arguments: str, of: str = "tests.simulation") -> None:
    done = simulation(*arguments, of=of)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def test_some_seeds_of_this_tree_and_all_that_are_kept():
    must_hold("--seeds", str(SHORT), "--kept")


@pytest.mark.slow
def test_more_seeds_of_this_tree():
    must_hold("--first", str(seeds.first_of_the_tree() + SHORT), "--seeds", str(LONG - SHORT))


def test_a_seed_is_the_same_whenever_it_is_run():
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: simulation("--seed", "7"), range(2))
    assert first.stdout == second.stdout
    assert "injected:" in first.stdout


def test_some_seeds_of_the_controller():
    must_hold("--seeds", str(SHORT), of=CONTROLLER)


@pytest.mark.slow
def test_more_seeds_of_the_controller():
    must_hold("--first", str(seeds.first_of_the_tree() + SHORT), "--seeds", str(LONG - SHORT), of=CONTROLLER)


def test_a_seed_of_the_controller_is_the_same_whenever_it_is_run():
    first, second = (simulation("--seed", "7", of=CONTROLLER) for _ in range(2))
    assert first.stdout == second.stdout
    assert "injected:" in first.stdout
