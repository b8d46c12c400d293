from __future__ import annotations

from contextlib import suppress
from datetime import UTC, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nexus.domain.errors import InvalidInput
from nexus.domain.events import (
    NO_PAYLOAD,
    Evidence,
    JobCollected,
    RunDeferred,
    RunFailed,
    RunRequested,
    RunStarted,
    RunTagged,
    decode_event,
    encode_event,
    event_id,
)
from nexus.domain.topics import UnknownEvent, read_event, requests_of, to_record
from tests.support.factories import (
    AT,
    REQUEST_ID,
    after,
    algorithm,
    cancelled,
    completed,
    diagnosis,
    fact,
    job_created,
    pod_view,
    run_requested,
)
from tests.unit.golden_files import KINDS, PAYLOAD, SAMPLES, body_of, headers_of, released

every_kind = pytest.mark.parametrize("kind", sorted(KINDS))


# --- golden files


@pytest.mark.parametrize("name", released())
def test_a_released_event_stays_readable(name):
    event = read_event(headers_of(name), body_of(name))
    assert f"{type(event).__name__}." == name[: name.rindex(".v") + 1]


@every_kind
def test_an_event_has_a_golden_file_and_is_written_as_it_was_released(kind):
    name = f"{kind}.v{KINDS[kind].version}"
    if name not in released():
        pytest.fail(
            f"{name} has no golden file: add a sample, run `python -m tests.unit.golden_files`, commit the file"
        )
    headers, body = headers_of(name), body_of(name)
    record = to_record(read_event(headers, body), headers["ce_source"])
    assert record.value.decode() == body.decode()
    assert record.headers == headers


@every_kind
def test_the_samples_still_say_what_was_released(kind):
    """Were it not so, a meaning would have changed without a new version."""
    assert decode_event(body_of(f"{kind}.v{KINDS[kind].version}")) == decode_event(
        encode_event(SAMPLES[kind])
    )


# --- identity


@every_kind
def test_an_event_that_was_read_has_the_id_of_the_one_that_was_written(kind):
    event = SAMPLES[kind]
    assert (
        event_id(decode_event(encode_event(event))) == event_id(event) == event_id(event, encode_event(event))
    )


@every_kind
def test_saying_a_thing_again_is_a_repeat_but_for_what_may_happen_again(kind):
    event = SAMPLES[kind]
    again = replace(event, at=event.at + timedelta(seconds=1))
    assert (event_id(again) == event_id(event)) is (
        kind
        not in {
            "RunRequested",
            "RunTagged",
            "RunStalled",
            "RunResumed",
            "ClusterCordoned",
            "ClusterUncordoned",
        }
    )


@pytest.mark.parametrize("kind", ["RunFailed", "RunDeadlineExceeded", "RunSchedulingFailed"])
def test_what_was_seen_is_no_part_of_what_is_said(kind):
    event = SAMPLES[kind]
    assert event_id(replace(event, evidence=None)) == event_id(event)
    assert event_id(replace(event, evidence=Evidence(pods=(pod_view(),)))) == event_id(event)


def test_when_and_why_a_request_is_parked_is_no_part_of_what_is_said():
    event = fact(RunDeferred, attempt=1, until=after(60), reason="full")
    assert event_id(event) == event_id(replace(event, until=after(90), reason="busy"))
    assert event_id(event) != event_id(replace(event, attempt=2))


def test_a_payload_is_said_by_its_hash_and_size():
    request = run_requested()
    assert event_id(request) == event_id(replace(request, payload=NO_PAYLOAD))
    assert event_id(request) != event_id(replace(request, content_hash="other"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(completed(result_uri="s3://a"), completed(result_uri="s3://b"), id="result"),
        pytest.param(completed(result_uri=""), cancelled(reason="", initiator=""), id="type"),
        pytest.param(completed(), completed(request_id=REQUEST_ID[:-1] + "2"), id="run"),
        pytest.param(completed(), completed(algorithm="another"), id="algorithm"),
        pytest.param(cancelled(initiator="me"), cancelled(initiator="you"), id="initiator"),
        pytest.param(cancelled(), cancelled(policy="Orphan"), id="policy"),
        pytest.param(
            fact(RunFailed, diagnosis=diagnosis("a")),
            fact(RunFailed, diagnosis=diagnosis("b")),
            id="diagnosis",
        ),
        pytest.param(job_created(job_uid="a"), job_created(job_uid="b"), id="job"),
        pytest.param(
            fact(RunStarted, started_at=after(1)), fact(RunStarted, started_at=after(2)), id="start"
        ),
        pytest.param(
            fact(JobCollected, job_uid="a"), fact(JobCollected, job_uid="a", by="other"), id="collector"
        ),
        pytest.param(fact(RunTagged, tag="a"), fact(RunTagged, tag="b"), id="tag"),
        pytest.param(run_requested(), run_requested(spec=algorithm(command="other")), id="specification"),
    ],
)
def test_a_contradiction_is_kept_apart(one, other):
    assert event_id(one) != event_id(other)


def test_ids_are_the_same_in_every_process_and_release():
    """They are compared with those in the log and in the annotations of Jobs."""
    assert event_id(SAMPLES["RunCompleted"]) == "b4916c3a75586777fe97679473409967"


# --- payload bytes


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD,
        b'{"n": 9007199254740993, "e": 1.0e2, "z": -0.0, "long": 0.1000000000000000055511151231257827}',
        b'{\n  "a" :\t[ 1 ,2 ]\r\n}',
        b'{"b":1,"a":2,"b":3}',
        '{"ключ":"é – 😀","escaped":"\\u003c\\ud83d\\ude00\\/"}'.encode(),
        b"{}",
    ],
)
def test_the_payload_travels_byte_for_byte(payload):
    record = to_record(run_requested(payload=payload), "test")
    event = read_event(record.headers, record.value)
    assert isinstance(event, RunRequested)
    assert bytes(event.payload) == payload
    assert bytes(decode_event(encode_event(event)).payload) == payload


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _json, max_size=4), st.integers(0, 4))
def test_any_payload_travels_byte_for_byte(value, indent):
    payload = msgspec.json.format(msgspec.json.encode(value), indent=indent)
    assert bytes(decode_event(encode_event(run_requested(payload=payload))).payload) == payload


def test_a_request_without_its_payload_leaves_the_member_out():
    assert "payload" in msgspec.json.decode(encode_event(run_requested()))
    assert "payload" not in msgspec.json.decode(encode_event(replace(run_requested(), payload=NO_PAYLOAD)))


# --- records


def test_a_record_is_a_cloud_event_in_binary_mode():
    event = completed()
    record = to_record(event, "nexus/receiver/host-1")
    assert record.headers == {
        "ce_specversion": "1.0",
        "ce_id": event_id(event),
        "ce_source": "nexus/receiver/host-1",
        "ce_type": "nexus.RunCompleted.v1",
        "ce_subject": REQUEST_ID,
        "ce_time": event.at.isoformat(),
        "content-type": "application/json",
    }
    assert record.key == REQUEST_ID
    assert msgspec.json.decode(record.value)["type"] == "RunCompleted"


@every_kind
def test_every_event_goes_to_its_topic(kind):
    topics = {
        "RunRequested": "nexus.requests.standalone",
        "RunObserved": "nexus.observations",
        "RunEnded": "nexus.results",
        "DeadLettered": "nexus.dead-letters",
        "ClusterCordoned": "nexus.clusters",
        "ClusterUncordoned": "nexus.clusters",
    }
    assert to_record(SAMPLES[kind], "test").topic == topics.get(kind, "nexus.runs")


def test_each_cluster_has_its_own_requests():
    assert to_record(run_requested(cluster="eu"), "test").topic == requests_of("eu") == "nexus.requests.eu"


def test_unknown_members_are_ignored_so_that_fields_may_be_added():
    record = to_record(completed(), "test")
    body = record.value.replace(b"{", b'{"addedLater":{"a":[1]},', 1)
    assert read_event(record.headers, body) == completed()


@pytest.mark.parametrize(
    "kind", ["nexus.RunCompleted.v2", "nexus.RunCompleted.v10", "nexus.RunPaused.v1", "nexus.runcompleted.v1"]
)
def test_what_a_newer_release_wrote_stops_the_reader(kind):
    with pytest.raises(UnknownEvent, match=f"{kind}.*upgrade this process"):
        read_event({"ce_type": kind}, encode_event(completed()))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ce_type": ""},
        {"ce_type": "order.created"},
        {"ce_type": "nexus"},
        {"ce_type": "nexus.RunCompleted"},
        {"ce_type": "nexus.RunCompleted.v"},
        {"ce_type": "nexus.RunCompleted.vx"},
        {"ce_type": "nexus.RunCompleted.v-1"},
        {"ce_type": "nexus.RunCompleted.v\N{SUPERSCRIPT TWO}"},
        {"ce_type": "nexus.RunCompleted.v0"},
        {"ce_type": "nexus.RunCompleted.v" + 5000 * "9"},
        {"ce_type": "other.RunCompleted.v1"},
    ],
)
def test_a_record_without_our_type_is_damaged(headers):
    with pytest.raises(InvalidInput, match="is not the type of a Nexus event") as caught:
        read_event(headers, encode_event(completed()))
    assert caught.value.field == "ce_type"
    assert len(str(caught.value)) < 200


_GOOD = encode_event(completed())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"{}", id="no type"),
        pytest.param(_GOOD[:-1], id="cut"),
        pytest.param(_GOOD + b"x", id="trailing"),
        pytest.param(_GOOD.replace(b"RunCompleted", b"RunPaused"), id="unknown type"),
        pytest.param(_GOOD.replace(b'"requestId"', b'"other"'), id="missing member"),
        pytest.param(_GOOD.replace(b"s3://results/1", b"\xff"), id="broken UTF-8"),
        pytest.param(_GOOD.replace(b'"s3://results/1"', b"1"), id="wrong type"),
        pytest.param(_GOOD.replace(b'"s3://results/1"', b"NaN"), id="no JSON"),
        pytest.param(b'{"deep":' + 200_000 * b"[", id="too deep"),
        pytest.param(b"\x00\xff\xfe", id="binary"),
    ],
)
def test_a_damaged_body_is_invalid_input(body):
    with pytest.raises(InvalidInput) as caught:
        read_event({"ce_type": "nexus.RunCompleted.v1"}, body)
    assert caught.value.field == "nexus.RunCompleted.v1"


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"ce_type": "nexus.RunTagged.v1", "ce_id": "x"}, "ce_type"),
        ({"ce_type": "nexus.RunCompleted.v1"}, "ce_id"),
    ],
    ids=["another type", "no id"],
)
def test_headers_that_do_not_fit_the_body_are_invalid_input(headers, field):
    with pytest.raises(InvalidInput) as caught:
        read_event(headers, _GOOD)
    assert caught.value.field == field


def test_a_time_without_a_zone_is_invalid_input():
    body = _GOOD.replace(b'Z"', b'"')
    with pytest.raises(InvalidInput, match="timezone"):
        read_event({"ce_type": "nexus.RunCompleted.v1", "ce_id": "x"}, body)


@given(st.binary(max_size=200))
def test_no_body_crashes_the_reader(body):
    with pytest.raises(InvalidInput):
        read_event({"ce_type": "nexus.RunCompleted.v1"}, body)


@given(st.dictionaries(st.sampled_from(["ce_type", "ce_id"]), st.text() | st.from_regex(r"nexus\.\w+\.v\d+")))
def test_no_header_crashes_the_reader(headers):
    with suppress(InvalidInput, UnknownEvent):
        read_event(headers, _GOOD)


def test_times_are_utc_and_exact():
    event = decode_event(encode_event(completed()))
    assert event.at == after(3)
    assert event.at.utcoffset() == AT.astimezone(UTC).utcoffset()
