from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.errors import InvalidInput
from nexus.domain.ids import fingerprint, issued_at, parse_request_id
from tests.support.factories import REQUEST_ID


@given(st.uuids())
def test_every_uuid_is_a_request_id_in_lower_case(uuid):
    assert parse_request_id(str(uuid)) == str(uuid)
    assert parse_request_id(str(uuid).upper()) == str(uuid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        REQUEST_ID[:-1],
        REQUEST_ID + "0",
        f" {REQUEST_ID}",
        f"{REQUEST_ID}\n",
        f"{{{REQUEST_ID}}}",
        f"urn:uuid:{REQUEST_ID}",
        REQUEST_ID.replace("-", ""),
        REQUEST_ID.replace("0", "g"),
        REQUEST_ID.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}"),
        "../../etc/passwd",
        5000 * "a",
    ],
)
def test_no_other_way_of_writing_is_a_request_id(text):
    with pytest.raises(InvalidInput) as caught:
        parse_request_id(text)
    assert caught.value.field == "requestId"
    assert len(str(caught.value)) < 200


@given(st.text(max_size=40))
def test_any_text_is_a_request_id_or_invalid_input(text):
    with suppress(InvalidInput):
        assert str(UUID(parse_request_id(text))) == text.lower()


def test_a_request_id_says_when_it_was_made():
    assert issued_at("017f22e2-79b0-7cc3-98c4-dc0c0c07398f") == datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)


def test_a_fresh_id_was_made_now():
    before = datetime.now(UTC)
    issued = issued_at(str(uuid_utils.uuid7()))
    assert issued is not None
    assert abs((issued - before).total_seconds()) < 60


@pytest.mark.parametrize(
    "request_id",
    [
        "5a3c4f9b-fd94-48d4-99cd-d9d7cbf6cfd1",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
    ],
)
def test_an_id_that_says_no_time_has_none(request_id):
    assert issued_at(request_id) is None


@given(st.uuids())
def test_no_uuid_is_an_error(uuid):
    issued = issued_at(str(uuid))
    assert issued is None or issued.tzinfo is UTC


_parts = st.lists(st.text(max_size=5) | st.binary(max_size=5), max_size=4)


@given(_parts, _parts)
def test_a_fingerprint_tells_apart_what_is_different(one, other):
    def as_bytes(parts):
        return [part.encode() if isinstance(part, str) else part for part in parts]

    assert (fingerprint(*one) == fingerprint(*other)) is (as_bytes(one) == as_bytes(other))


@pytest.mark.parametrize(
    ("one", "other"), [(("ab", "c"), ("a", "bc")), (("a",), ("a", "")), ((), ("",)), (("a", "b"), ("b", "a"))]
)
def test_boundaries_and_order_count(one, other):
    assert fingerprint(*one) != fingerprint(*other)


def test_a_fingerprint_is_the_same_in_every_process_and_release():
    assert fingerprint("ab", b"c") == "c6708c432fd31391f0a2b861cff9e3cc"
