"""A value comes out of its text form as it went in: spans, sizes, quantities and times, wherever they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nexus.config import load, shown
from nexus.domain.duration import format_duration, parse_duration
from nexus.domain.errors import InvalidInput
from nexus.domain.events import RunStarted, decode_event, encode_event
from nexus.domain.job import Materializer
from nexus.domain.quantity import parse_quantity, scale_cpu, whole_units
from nexus.domain.run import Run, begin
from nexus.domain.submission import read_submission, request_run
from nexus.payload_urls import valid_for
from tests.support.factories import algorithm, run_requested, template, workgroup

SPANS = st.timedeltas(timedelta(microseconds=1), timedelta(days=3650))
TIMES = st.datetimes(timezones=st.just(UTC))
QUANTITIES = st.builds(
    "{}{}".format,
    st.decimals(0, 10**6, places=3) | st.integers(0, 10**6),
    st.sampled_from(["", "m", "k", "Ki", "Mi", "Gi", "u", "n", "e2", "E-2"]),
)


@given(SPANS)
def test_how_long_a_payload_is_good_for(span: timedelta) -> None:
    """From the request, through its event and its row, to the address that is signed."""
    body = {"algorithmParameters": {}, "payloadValidFor": format_duration(span)}
    request = request_run(
        read_submission(msgspec.json.encode(body)),
        None,
        template(),
        workgroup(),
        request_id="r",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        place_within=timedelta(hours=1),
        dry_run=False,
        received_by="tests",
    )
    kept = msgspec.json.decode(msgspec.json.encode(begin(request)), type=Run).request
    assert parse_duration("", kept.payload_valid_for) == span
    assert valid_for(kept, timedelta(0)) == span


@pytest.mark.parametrize("kept", ["0s", "", "soon"])
def test_what_is_kept_as_no_duration_leaves_the_payload_readable(kept: str) -> None:
    """Of a run that an earlier release accepted, or that upstream wrote: its metadata carry such an address."""
    assert valid_for(run_requested(payload_valid_for=kept), timedelta(hours=1)) == timedelta(hours=25)


@given(SPANS)
def test_a_span_of_the_configuration(span: timedelta) -> None:
    read = load(None, {"NEXUS__HTTP__READ_WAIT": format_duration(span)})
    assert read.http.read_wait == span
    assert parse_duration("", shown(read)["http"]["read_wait"]) == span


@given(st.integers(1, 2**62))
def test_a_size_of_the_configuration(size: int) -> None:
    read = load(None, {"NEXUS__HTTP__MAX_BODY": str(size)})
    assert read.http.max_body == size == whole_units("", str(shown(read)["http"]["max_body"]))


@given(QUANTITIES, QUANTITIES)
def test_a_quantity_is_in_the_job_as_it_was_written(limit: str, custom: str) -> None:
    try:
        parse_quantity("", limit)
        parse_quantity("", custom)
    except InvalidInput:
        assume(False)
    resources = {"limits": {"memory": limit}, "customResources": {"example.com/unit": custom}}
    job = Materializer("tests", "1", timedelta(days=7)).job(
        run_requested(spec=algorithm(computeResources=resources)), "http://payload"
    )
    sent = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert sent["limits"] == sent["requests"] == {"memory": limit, "example.com/unit": custom}


@given(QUANTITIES, st.decimals(Decimal("0.01"), 1, places=2))
def test_a_share_of_a_limit_can_be_read_again(limit: str, share: Decimal) -> None:
    whole = parse_quantity("", limit)
    part = parse_quantity("", scale_cpu("", limit, share))
    assert abs(part - whole * share) <= Decimal("0.002")


@given(TIMES, TIMES)
def test_a_time_of_an_event(at: datetime, started: datetime) -> None:
    event = RunStarted(request_id="r", algorithm="a", at=at, started_at=started, pod="p")
    assert decode_event(encode_event(event)) == event


@given(TIMES)
def test_a_time_of_a_row(at: datetime) -> None:
    row = begin(run_requested(at=at, placement_deadline=at))
    assert msgspec.json.decode(msgspec.json.encode(row), type=Run) == row


@given(SPANS)
def test_a_job_is_kept_for_as_long_as_it_is_said(span: timedelta) -> None:
    """In whole seconds: it is never gone before its time."""
    job = Materializer("tests", "1", span).job(run_requested(), "http://payload")
    kept = job["spec"]["ttlSecondsAfterFinished"]
    assert timedelta(0) <= timedelta(seconds=kept) - span < timedelta(seconds=1)
