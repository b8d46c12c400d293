"""Settings of all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Servers of tests live for minutes: what they would spend on compiling and collecting thoroughly never pays.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
os.environ.setdefault("GOGC", "300")

pytest_plugins = ["tests.support.servers", "tests.support.own_servers", "tests.support.marks"]

# No deadlines: how long one example takes says more about the machine than about the code.
settings.register_profile("quick", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile("quick")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: nobody reads why it was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped:
        reporter.write_line(f"\n{len(skipped)} skipped: in CI that is a failure", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
