"""The same seeds are run for the same sources, so that what CI runs was run before the commit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


def test_seeds_of_this_tree_and_all_that_are_kept():
    done = simulation("--seeds", "500", "--kept")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def test_a_seed_is_the_same_whenever_it_is_run():
    first, second = simulation("--seed", "7"), simulation("--seed", "7")
    assert first.stdout == second.stdout
    assert "injected:" in first.stdout
