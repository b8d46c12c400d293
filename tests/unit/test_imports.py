"""What a role loads before it asks for anything."""

from __future__ import annotations

import subprocess
import sys

from tests.support import imports

SHARED = "nexus.cli.commands, nexus.cli.logging_setup, nexus.cli.render, nexus.composition.serving"


def test_what_all_roles_share_loads_no_library_that_speaks_with_a_server(tmp_path):
    """Which of them a role loads then, tests on real servers show: this one needs none."""
    output = tmp_path / "out"
    with output.open("wb") as said:
        subprocess.run(
            [sys.executable, "-X", "importtime", "-c", f"import {SHARED}"], stderr=said, check=True
        )
    assert imports.imported(output) & imports.ENGINES == set()
