from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.errors import InvalidInput
from nexus.domain.events import Parent, RunRequested
from nexus.domain.payload import content_hash, payload_path
from nexus.domain.submission import Submission, read_overrides, read_submission, request_run
from nexus.domain.template import Template, merge
from tests.support.factories import AT, CLUSTER, REQUEST_ID, template, workgroup


def body(**members) -> bytes:
    return msgspec.json.encode({"algorithmParameters": {"size": 3}} | members)


def requested(submission: Submission, of: Template | None = None, **fields) -> RunRequested:
    defaults = {
        "request_id": REQUEST_ID,
        "at": AT,
        "place_within": timedelta(hours=24),
        "dry_run": False,
        "received_by": "host-1",
    }
    overrides = read_overrides(submission)
    return request_run(submission, overrides, of or template(), workgroup(), **(defaults | fields))


# --- reading


def test_all_members_are_read():
    submission = read_submission(
        body(
            customConfiguration={"container": {"versionTag": "v2"}},
            requestApiVersion="1.2",
            tag="t",
            parentRequest={"requestId": "p", "algorithmName": "q"},
            payloadValidFor="1h30m",
        )
    )
    assert bytes(submission.algorithm_parameters) == b'{"size":3}'
    assert submission.custom_configuration == {"container": {"versionTag": "v2"}}
    assert (submission.request_api_version, submission.tag, submission.payload_valid_for) == (
        "1.2",
        "t",
        "1h30m",
    )
    assert submission.parent_request == Parent(request_id="p", algorithm_name="q")


@pytest.mark.parametrize(
    "nulls",
    [
        {},
        {
            "customConfiguration": None,
            "requestApiVersion": None,
            "tag": None,
            "parentRequest": None,
            "payloadValidFor": None,
        },
    ],
)
def test_null_means_unset_as_go_clients_write_it(nulls):
    submission = read_submission(body(**nulls))
    assert read_overrides(submission) is None
    request = requested(submission)
    assert (request.tag, request.parent, request.api_version, request.overrides) == ("", None, "", None)


@pytest.mark.parametrize(
    "parameters",
    [
        b"{}",
        b'{ "big": 12345678901234567890123,\n"exact": 1.0 }',
        b'{"b": 1, "a": 2, "b": 3}',
        b'{"html": "<&>", "escaped": "\\u003c\\/"}',
        '{"ключ": "😀"}'.encode(),
    ],
)
def test_the_parameters_keep_the_client_s_bytes(parameters):
    submission = read_submission(b'{"tag": "t" , "algorithmParameters" : ' + parameters + b" \n}")
    assert bytes(submission.algorithm_parameters) == parameters
    assert bytes(requested(submission).payload) == parameters


def test_unknown_members_are_ignored():
    assert read_submission(body(somethingNew={"a": [1]})).tag is None


def test_of_a_member_that_is_there_twice_the_last_one_counts():
    submission = read_submission(
        b'{"algorithmParameters": {"a": 1}, "tag": "x", "tag": "y", "algorithmParameters": {"b": 2}}'
    )
    assert (submission.tag, bytes(submission.algorithm_parameters)) == ("y", b'{"b": 2}')


GOOD = body()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        pytest.param(b"", "truncated", id="empty"),
        pytest.param(b"null", "Expected `object`", id="null"),
        pytest.param(b"[]", "Expected `object`", id="array"),
        pytest.param(b'"text"', "Expected `object`", id="text"),
        pytest.param(b"{}", "algorithmParameters", id="no parameters"),
        pytest.param(b'{"AlgorithmParameters": {}}', "algorithmParameters", id="names are exact"),
        pytest.param(GOOD[:-1], "truncated", id="cut"),
        pytest.param(GOOD + b"x", "trailing", id="trailing bytes"),
        pytest.param(GOOD + GOOD, "trailing", id="a second value"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, "malformed", id="byte order mark"),
        pytest.param(GOOD.decode().encode("utf-16"), "malformed", id="UTF-16"),
        pytest.param(b'{"algorithmParameters": {"a": 1,}}', "trailing comma", id="trailing comma"),
        pytest.param(b'{"algorithmParameters": {"a": NaN}}', "malformed", id="NaN"),
        pytest.param(b'{"algorithmParameters": {"a": 01}}', "invalid number", id="leading zero"),
        pytest.param(b"{'algorithmParameters': {}}", "malformed", id="single quotes"),
        pytest.param(b'{"algorithmParameters": {"a": "\n"}}', "malformed", id="control character"),
        pytest.param(
            b'{"algorithmParameters": null}',
            "algorithmParameters: is not a JSON object",
            id="null parameters",
        ),
        pytest.param(
            b'{"algorithmParameters": []}', "algorithmParameters: is not a JSON object", id="array parameters"
        ),
        pytest.param(
            b'{"algorithmParameters": "{}"}',
            "algorithmParameters: is not a JSON object",
            id="text parameters",
        ),
        pytest.param(
            b'{"algorithmParameters": 1}', "algorithmParameters: is not a JSON object", id="number parameters"
        ),
        pytest.param(
            b'{"algorithmParameters": {"a": "\xff"}}',
            "algorithmParameters: is not UTF-8 at its byte 7",
            id="bytes",
        ),
        pytest.param(b'{"algorithmParameters": {}, "tag": "\xff"}', "utf-8", id="bytes in the tag"),
        pytest.param(
            b'{"algorithmParameters": {}, "customConfiguration": {"\xff": 1}}', "utf-8", id="bytes in a name"
        ),
        pytest.param(body(tag=1), "$.tag", id="tag"),
        pytest.param(body(tag=1025 * "x"), "tag: has 1025 characters", id="long tag"),
        pytest.param(body(requestApiVersion=1.2), "$.requestApiVersion", id="version"),
        pytest.param(body(payloadValidFor=3600), "$.payloadValidFor", id="validity"),
        pytest.param(body(customConfiguration=[]), "$.customConfiguration", id="configuration"),
        pytest.param(body(parentRequest="p"), "$.parentRequest", id="parent"),
        pytest.param(body(parentRequest={}), "requestId", id="empty parent"),
        pytest.param(body(parentRequest={"requestId": "p"}), "algorithmName", id="parent without algorithm"),
        pytest.param(body(parentRequest={"algorithmName": "q"}), "requestId", id="parent without id"),
        pytest.param(
            body(parentRequest={"requestId": "", "algorithmName": "q"}),
            "parentRequest: needs both",
            id="parent: empty id",
        ),
        pytest.param(
            body(parentRequest={"requestId": "p", "algorithmName": ""}),
            "parentRequest: needs both",
            id="parent: empty algorithm",
        ),
        pytest.param(
            body(parentRequest={"requestId": None, "algorithmName": "q"}), "requestId", id="parent: null"
        ),
    ],
)
def test_what_cannot_be_accepted_is_named(sent, words):
    with pytest.raises(InvalidInput) as caught:
        read_submission(sent)
    assert words in str(caught.value)


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
@pytest.mark.parametrize(
    "before",
    [
        b"",
        b'{"algorithmParameters":',
        b'{"algorithmParameters":{"a":',
        b'{"unknown":',
        b'{"customConfiguration":{"a":',
    ],
)
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused_and_never_an_error(before, opening, depth):
    with pytest.raises(InvalidInput):
        read_submission(before + depth * opening)


@pytest.mark.parametrize("depth", [100, 300, 600, 900, 5_000])
def test_deep_overrides_are_read_or_refused(depth):
    nested = (
        b'{"environmentVariables":[{"name":"A","value":"1","valueFrom":'
        + depth * b"["
        + depth * b"]"
        + b"}]}"
    )
    sent = b'{"algorithmParameters":{},"customConfiguration":{"runtimeEnvironment":' + nested + b"}}"
    with suppress(InvalidInput):
        read_overrides(read_submission(sent))


@given(
    st.binary(max_size=60) | st.text(alphabet='{}[]":, algorithmParameters1\\u', max_size=60).map(str.encode)
)
def test_no_body_is_an_error(sent):
    with suppress(InvalidInput):
        read_submission(sent)


# --- overrides


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"container": {"image": 1}}, "customConfiguration.container.image"),
        ({"computeResources": {"cpuLimit": "lots"}}, "customConfiguration.computeResources.cpuLimit"),
        (
            {"runtimeEnvironment": {"deadlineSeconds": -1}},
            "customConfiguration.runtimeEnvironment.deadlineSeconds",
        ),
    ],
)
def test_a_wrong_override_is_named(overrides, field):
    with pytest.raises(InvalidInput) as caught:
        read_overrides(read_submission(body(customConfiguration=overrides)))
    assert caught.value.field == field


def test_a_request_above_an_overridden_limit_is_named():
    requests = template(computeResources={"limits": {"cpu": "4"}, "requests": {"cpu": "2"}})
    submission = read_submission(body(customConfiguration={"computeResources": {"cpuLimit": "1"}}))
    with pytest.raises(InvalidInput, match="2 is above its limit of 1") as caught:
        requested(submission, requests)
    assert caught.value.field == "customConfiguration.computeResources.requests.cpu"


# --- the event that starts the run


def test_a_request_says_all_that_is_needed_to_run_it():
    configuration = {"container": {"versionTag": "v2"}}
    submission = read_submission(
        body(
            customConfiguration=configuration,
            requestApiVersion="1.2",
            tag="t",
            parentRequest={"requestId": "p", "algorithmName": "q"},
        )
    )
    request = requested(submission, dry_run=True)
    overrides = read_overrides(submission)
    assert request == RunRequested(
        request_id=REQUEST_ID,
        algorithm="hello-world",
        at=AT,
        cluster=CLUSTER,
        workgroup="default",
        spec=merge(template().spec, overrides),
        placement=workgroup().spec,
        placement_deadline=AT + timedelta(hours=24),
        payload_valid_for="24h0m0s",
        content_hash=content_hash(b'{"size":3}'),
        payload_size=10,
        payload_uri=payload_path("hello-world", REQUEST_ID),
        payload=request.payload,
        overrides=overrides,
        tag="t",
        parent=Parent(request_id="p", algorithm_name="q"),
        api_version="1.2",
        dry_run=True,
        received_by="host-1",
    )
    assert bytes(request.payload) == b'{"size":3}'
    assert request.spec.container.version_tag == "v2"


@pytest.mark.parametrize(
    ("sent", "deployed", "applies"),
    [
        (None, None, "24h0m0s"),
        (None, "12h", "12h0m0s"),
        ("1h30m", "12h", "1h30m0s"),
        ("90s", None, "1m30s"),
        ("", "12h", "12h0m0s"),
        ("", "", "24h0m0s"),
    ],
)
def test_the_validity_is_the_request_s_before_the_template_s_before_the_default(sent, deployed, applies):
    deployed_as = template(payloadConfiguration={"payloadValidFor": deployed})
    assert requested(read_submission(body(payloadValidFor=sent)), deployed_as).payload_valid_for == applies


@pytest.mark.parametrize("validity", ["tomorrow", "0s", "-1h"])
def test_a_wrong_validity_is_named(validity):
    with pytest.raises(InvalidInput) as caught:
        requested(read_submission(body(payloadValidFor=validity)))
    assert caught.value.field == "payloadValidFor"


def test_the_workgroup_decides_the_cluster():
    submission = read_submission(body())
    request = request_run(
        submission,
        None,
        template(),
        workgroup("large", cluster="eu", tolerations=[{"key": "gpu"}]),
        request_id=REQUEST_ID,
        at=AT,
        place_within=timedelta(minutes=1),
        dry_run=False,
        received_by="",
    )
    assert (request.cluster, request.workgroup, request.placement.tolerations) == (
        "eu",
        "large",
        [{"key": "gpu"}],
    )
    assert request.placement_deadline == AT + timedelta(minutes=1)


@pytest.mark.parametrize("at", [0, 1, 2**20 - 14, 2**20 - 13, 2**20 - 12, 2**20, 2**21])
@pytest.mark.parametrize("tail", [0, 3, 2**20])
def test_broken_utf8_is_found_where_it_is_in_a_large_payload(at: int, tail: int) -> None:
    before = b'{"a":"' + "é".encode() * (at // 2) + b"a" * (at % 2)
    body = b'{"algorithmParameters":' + before + b"\xff" + b"b" * tail + b'"}}'
    with pytest.raises(InvalidInput, match=f"is not UTF-8 at its byte {len(before)}$"):
        read_submission(body)


def test_characters_may_lie_across_the_pieces_that_are_looked_at() -> None:
    for shift in range(4):
        text = b"a" * shift + "\N{GRINNING FACE}".encode() * 600_000
        submission = read_submission(b'{"algorithmParameters":{"a":"' + text + b'"}}')
        assert memoryview(submission.algorithm_parameters) == b'{"a":"' + text + b'"}'


def test_a_large_body_is_all_but_payload() -> None:
    much = b'"x":' + b"[" + b"0," * 600_000 + b"0]"
    assert read_submission(b'{"algorithmParameters":{' + much + b"}}").tag is None
    with pytest.raises(InvalidInput, match="bytes beside algorithmParameters"):
        read_submission(b'{"algorithmParameters":{},"customConfiguration":{' + much + b"}}")
