"""What is known of each test before it runs: its marks, whom it runs together with, and its turn.

`servers` is a test that needs one, `slow` one that needs seconds: `-m "not servers and not slow"` is `make check`.
"""

from __future__ import annotations

import pytest

from tests.support.servers import FIXTURES

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]

_SLOW = {"chaos", "e2e", "helm"}
"""Folders whose tests start processes of Nexus."""
_LONG = {"simulation", "test_quality.py"}
"""Whose single tests take longest of those without servers."""
_TOGETHER = (
    "own_servers",
    "fleet",
    "there",
    "lone_broker",
    "secure_kafka_server",
    "shard_servers",
    "outcomes",
    "state_of_session",
    "cassandra_schema",
    "releases",
)
"""Fixtures that are dear to make: the tests that take one run one after the other in the same process, and these
groups begin first, in this order.
"""

_SAME_PROCESS = {"fleet": "own_servers"}
"""Two that would each take a small machine for themselves: one begins when the other has ended."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "servers(fixture): needs a server; added to whoever takes a fixture that starts one"
    )
    config.addinivalue_line("markers", "slow: takes seconds; added to whatever starts processes of Nexus")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        wanted = _fixtures(item)
        if wanted & FIXTURES:
            item.add_marker("servers")
        if _SLOW.intersection(item.path.parts):
            item.add_marker("slow")
        if group := next((each for each in _TOGETHER if each in wanted), None):
            item.add_marker(pytest.mark.xdist_group(_SAME_PROCESS.get(group, group)))
    items.sort(key=_turn)


def _fixtures(item: pytest.Item) -> set[str]:
    """Those that it takes, and those that its parameters ask for."""
    asked = {name for mark in item.iter_markers("servers") for name in mark.args}
    return {*getattr(item, "fixturenames", ()), *asked}


def _turn(item: pytest.Item) -> int:
    """What takes longest begins first, so that no process is left alone with it at the end."""
    wanted = _fixtures(item)
    group = next((number for number, each in enumerate(_TOGETHER) if each in wanted), None)
    if group is not None:
        return group
    if _LONG.intersection(item.path.parts):
        return len(_TOGETHER)
    return (
        len(_TOGETHER)
        + 1
        + (item.get_closest_marker("slow") is None)
        + (item.get_closest_marker("servers") is None)
    )
