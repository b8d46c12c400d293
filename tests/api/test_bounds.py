"""Every text that a client sends has a bound: a submission is refused with the field's name, a report is cut."""

from __future__ import annotations

import msgspec
import pytest

from nexus.domain import bounds
from nexus.domain.events import encode_event
from nexus.domain.topics import DEAD_LETTERS
from tests.streams.conftest import run_id

BROKER = 1024 * 1024
LONG = "x" * 500_000
UNKNOWN = "01900000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"tag": LONG}, "tag"),
        ({"requestApiVersion": LONG}, "requestApiVersion"),
        ({"payloadValidFor": "1" * 100_000 + "s"}, "payloadValidFor"),
        ({"parentRequest": {"requestId": LONG, "algorithmName": "a"}}, "parentRequest.requestId"),
        ({"parentRequest": {"requestId": UNKNOWN, "algorithmName": LONG}}, "parentRequest.algorithmName"),
        ({"customConfiguration": {"computeResources": {"limits": {LONG: "1"}}}}, "customConfiguration"),
        (
            {
                "customConfiguration": {
                    "computeResources": {"limits": {f"example.com/r{n}": "1" for n in range(20_000)}}
                }
            },
            "customConfiguration",
        ),
        ({"customConfiguration": {"unknown": LONG}}, "customConfiguration"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_submission_with_a_text_that_is_too_long_names_the_field(api, members, field):
    answer = await api.http.post("/algorithm/v1/run/quick", json={"algorithmParameters": {}} | members)
    assert answer.status_code == 400
    assert answer.text.startswith(f"Algorithm payload is invalid: {field}: has ")
    assert len(answer.text) < 300
    assert await api.installation.said("nexus.requests.standalone") == []


async def test_an_idempotency_key_has_a_bound(api):
    answer = await api.http.post(
        "/algorithm/v1/run/quick",
        json={"algorithmParameters": {}},
        headers={"Idempotency-Key": "k" * (bounds.IDEMPOTENCY_KEY + 1)},
    )
    assert (answer.status_code, "Idempotency-Key" in answer.text) == (400, True)


@pytest.mark.parametrize("field", ["reason", "initiator"])
async def test_a_cancel_with_a_text_that_is_too_long_names_the_field(api, field):
    run = await api.submit()
    path = f"/algorithm/v1/cancel/quick/requests/{run}"
    answer = await api.http.post(path, json={field: "x" * 10_000})
    assert (
        answer.status_code,
        answer.text.startswith(f"Cancellation payload is invalid: {field}: has "),
    ) == (
        400,
        True,
    )
    assert not (await api.row(run)).ended


@pytest.mark.parametrize("character", ["x", "\x01", "\N{GRINNING FACE}", '"'])
async def test_the_longest_report_is_taken_and_small_beside_a_record(api, character):
    run = await api.submit()
    text = character * 200_000
    report = {"resultUri": text, "errorCause": "cause " + text, "errorDetails": "begins " + text + " ends"}
    body = msgspec.json.encode(report)
    answer = await api.http.post(f"/algorithm/v1/complete/quick/requests/{run}", content=body)
    assert answer.status_code == 202, answer.text
    row = await api.row(run)
    assert row.stage == "FAILED"
    assert row.diagnosis.cause.startswith("cause ")
    assert "cut by Nexus" in row.diagnosis.cause
    details = row.diagnosis.details
    assert (details[:7], details[-5:]) == ("begins ", " ends")
    assert "cut by Nexus: 200012 characters, at most 49152 are kept" in details
    assert len(details) <= bounds.ERROR_DETAILS
    [fact] = await api.installation.said()
    assert len(encode_event(fact)) < BROKER / 2


async def test_a_result_address_that_is_too_long_is_marked(api):
    run = await api.submit()
    answer = await api.http.post(
        f"/algorithm/v1/complete/quick/requests/{run}", json={"resultUri": "s3://" + "x" * 100_000}
    )
    assert answer.status_code == 202
    row = await api.row(run)
    assert (row.stage, "cut by Nexus" in row.result_uri) == ("COMPLETED", True)


async def test_a_report_with_half_a_surrogate_pair_is_not_lost(api):
    """Python writes one for each byte of a file name that is no UTF-8."""
    run = await api.submit()
    answer = await api.http.post(
        f"/algorithm/v1/complete/quick/requests/{run}",
        content=rb'{"errorCause":"no such file: \udcff\u0000","errorDetails":"\ud83d\ude00 C:\\ud800"}',
    )
    assert answer.status_code == 202, answer.text
    diagnosis = (await api.row(run)).diagnosis
    assert diagnosis.cause == "no such file: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert diagnosis.details == "\N{GRINNING FACE} C:\\ud800"


async def test_the_name_in_a_report_has_a_bound(api):
    run = await api.submit()
    for path in (run, run_id(9)):
        answer = await api.http.post(f"/algorithm/v1/complete/{'x' * 5000}%00/requests/{path}", json={})
        assert answer.status_code == 202
    facts = await api.installation.said() + await api.installation.said(DEAD_LETTERS)
    assert [len(fact.algorithm) for fact in facts] == [bounds.ALGORITHM, bounds.ALGORITHM]
    assert not (await api.row(run)).ended


async def test_a_report_of_nobody_fits_a_record(api):
    body = msgspec.json.encode({"errorDetails": "x" * 1_000_000})
    answer = await api.http.post(f"/algorithm/v1/complete/quick/requests/{run_id(9)}", content=body)
    assert answer.status_code == 202
    [letter] = await api.installation.said(DEAD_LETTERS)
    assert (letter.record, f"{len(body)} bytes" in letter.reason) == (body[: bounds.DEAD_LETTER], True)
    assert len(encode_event(letter)) < BROKER
