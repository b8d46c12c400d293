"""The benchmarks are not run here; that they can be is seen by their import."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import EMBEDDED, REAL, selected


def test_all_of_them_or_some_by_either_half_of_their_names() -> None:
    assert selected([]) == [*EMBEDDED, *REAL]
    assert selected(["real"]) == [*REAL]
    assert selected(["jobs", "real.kept"]) == ["embedded.jobs", "real.kept", "real.jobs"]


def test_another_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(SystemExit, match=r"no benchmark speed: there are embedded\.accepts, .*real\.memory"):
        selected(["speed"])
