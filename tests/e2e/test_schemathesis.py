"""Whatever fits the OpenAPI document, and whatever does not, is never answered by a 5xx."""

from __future__ import annotations

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
from schemathesis import GenerationMode

from docs.pages.openapi import COMMITTED

# Its own pytest integration does not know pytest 9, so each operation's strategy is given to Hypothesis here.
schema = schemathesis.openapi.from_dict(msgspec.json.decode(COMMITTED.read_bytes()))
OPERATIONS = [result.ok() for result in schema.get_all_operations()]


CASES = [
    *((operation, GenerationMode.POSITIVE) for operation in OPERATIONS),
    # Any string is a valid segment of a path: there is nothing to break where that is all.
    *((operation, GenerationMode.NEGATIVE) for operation in OPERATIONS if operation.body or operation.query),
]


@pytest.mark.parametrize(("operation", "mode"), CASES, ids=[f"{op.label} {mode.value}" for op, mode in CASES])
def test_no_request_is_answered_by_a_server_error(nexus, operation, mode):
    @given(case=operation.as_strategy(generation_mode=mode), deployed=booleans())
    @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case, deployed):
        if deployed and "algorithm" in (case.path_parameters or {}):
            case.path_parameters["algorithm"] = "quick"
        answer = case.call(base_url=nexus.url)
        assert answer.status_code < 500, answer.text

    ask()
