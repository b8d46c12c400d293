"""Some of the laws broken on purpose: that each of them can be, and that the first seeds catch it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.mutations import MUTATIONS, catch

ROOT = Path(__file__).parents[2]
QUICK = [
    mutation
    for mutation in MUTATIONS
    if mutation.what
    in {
        "the API answers although a large payload is not in its store",
        "the last one does",
        "a Job is named after its payload's address",
        "the collector deletes first",
        "a driver says that it has caught up before it has delivered what there is",
        "a capability of another run is as good",
    }
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_a_mutation_is_of_the_code_as_it_is(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    if mutation.other_file:
        assert (ROOT / mutation.other_file).read_text().count(mutation.other_old) == 1


@pytest.mark.slow
@pytest.mark.parametrize("mutation", QUICK, ids=lambda mutation: mutation.what)
def test_the_first_seeds_catch_it(mutation, tmp_path):
    # The rarest of them shows in one seed of twelve; which one that is changes with every change of the code.
    assert 0 < catch(tmp_path / "tree", mutation).seeds <= 100
