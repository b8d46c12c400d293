"""Tests that share what is dear to make run in one process: that the groups reach who hands tests out."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("canary")
def test_a_group_is_part_of_the_id_by_which_tests_are_handed_out(request: pytest.FixtureRequest):
    side_by_side = "PYTEST_XDIST_WORKER" in os.environ
    assert request.node.nodeid.endswith("@canary") == side_by_side
