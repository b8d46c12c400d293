from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nexus.domain.payload import (
    DEFAULT_TENANT,
    Grant,
    PayloadSigner,
    content_hash,
    payload_key,
    payload_path,
    sign,
    verify,
)
from tests.support.factories import AT, after

ID = "5a3c4f9b-fd94-48d4-99cd-d9d7cbf6cfd1"
GRANT = Grant(
    path=f"/data/v1/payloads/hello-world/requests/{ID}",
    tid=DEFAULT_TENANT,
    chk="ZTM5YjVkOTg=",
    valid_from=1788351261,
    valid_to=1788437661,
)
SIGNER = PayloadSigner(base="http://localhost:8080", tenant=DEFAULT_TENANT, secret=b"test")


# --- the vectors of the contract


@pytest.mark.parametrize(
    ("path", "signature"),
    [
        (GRANT.path, "mSxqdzcaMs6CULksMOXuLengIHBN_Yy2_ubzqTN-hQM"),
        (GRANT.path.removeprefix("/"), "oq4NaMfFWZHlvN7il99AZRzt9ssbaWATKSONvvi05Qw"),
    ],
)
def test_signatures_are_those_of_upstream(path, signature):
    assert sign(replace(GRANT, path=path), b"test") == signature


def test_the_content_hash_is_the_crc32_in_hex_in_base64():
    assert content_hash(b"123456789") == "Y2JmNDM5MjY="  # cbf43926, the check value of CRC32-IEEE
    assert content_hash(b"") == "MDAwMDAwMDA="


def test_the_key_and_the_path_are_those_of_upstream():
    assert payload_key("hello-world", ID) == f"algorithm=hello-world/{ID}"
    assert payload_path("hello-world", ID) == GRANT.path


# --- what a signature protects


@pytest.mark.parametrize(
    "change",
    [
        {"path": GRANT.path + "0"},
        {"path": GRANT.path.replace("hello", "other")},
        {"tid": DEFAULT_TENANT[:-1] + "1"},
        {"chk": "ZTM5YjVkOTk="},
        {"valid_from": GRANT.valid_from - 1},
        {"valid_to": GRANT.valid_to + 1},
        {"valid_to": 2**63},
    ],
)
def test_every_signed_part_is_protected(change):
    signature = sign(GRANT, b"test")
    assert verify(GRANT, signature, b"test", GRANT.valid_from)
    assert not verify(replace(GRANT, **change), signature, b"test", GRANT.valid_from)


@pytest.mark.parametrize(
    "signature", ["", "x", "mSxqdzcaMs6CULksMOXuLengIHBN_Yy2_ubzqTN-hQM=", "\N{SNOWMAN}"]
)
def test_only_the_very_signature_is_accepted(signature):
    assert not verify(GRANT, signature, b"test", GRANT.valid_from)


def test_another_secret_signs_otherwise():
    assert not verify(GRANT, sign(GRANT, b"other"), b"test", GRANT.valid_from)


@pytest.mark.parametrize(
    ("now", "valid"),
    [
        (GRANT.valid_from, True),
        (GRANT.valid_to, True),
        (GRANT.valid_to + 0.001, False),
        (GRANT.valid_to + 86400, False),
        (GRANT.valid_from - 86400, True),
    ],
)
def test_an_address_expires_and_its_start_is_not_enforced(now, valid):
    assert verify(GRANT, sign(GRANT, b"test"), b"test", now) is valid


# --- addresses


def address(
    algorithm: str = "hello-world", valid_for: timedelta = timedelta(hours=1)
) -> tuple[str, dict[str, str]]:
    """Decoded path and query, as a server sees them."""
    parts = urlsplit(SIGNER.url(algorithm, ID, "a+/b=", AT, valid_for))
    assert f"{parts.scheme}://{parts.netloc}" == SIGNER.base
    return unquote(parts.path), {name: values[0] for name, values in parse_qs(parts.query).items()}


def test_an_address_has_the_path_and_the_parameters_of_the_contract():
    path, query = address()
    assert path == GRANT.path
    assert list(query) == ["chk", "from", "sig", "tid", "to"]
    assert (query["chk"], query["tid"]) == ("a+/b=", DEFAULT_TENANT)
    assert (query["from"], query["to"]) == (str(int(AT.timestamp())), str(int(AT.timestamp()) + 3600))


def test_an_address_is_good_until_it_expires():
    path, query = address()
    assert SIGNER.allows(path, query, AT)
    assert SIGNER.allows(path, query, after(3599))
    assert not SIGNER.allows(path, query, after(3601))


def test_parameters_that_are_not_signed_do_no_harm():
    path, query = address()
    assert SIGNER.allows(path, query | {"utm_source": "x", "scheme": "https"}, AT)


@pytest.mark.parametrize("name", ["chk", "from", "sig", "tid", "to"])
def test_every_parameter_is_needed(name):
    path, query = address()
    del query[name]
    assert not SIGNER.allows(path, query, AT)


def test_an_address_is_good_for_its_own_payload_only():
    path, query = address()
    assert not SIGNER.allows(payload_path("other", ID), query, AT)
    assert not SIGNER.allows(path.removeprefix("/"), query, AT)


@pytest.mark.parametrize("name", ["chk", "from", "sig", "tid", "to"])
@pytest.mark.parametrize(
    "junk",
    [
        "",
        " ",
        "0",
        "-1",
        "+1",
        "1e9",
        "1.5",
        "1_000",
        "0x10",
        "\N{SUPERSCRIPT TWO}",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "\ud800",
        "\x00",
        str(2**64),
        5000 * "9",
        "\N{SNOWMAN}",
    ],
)
def test_junk_is_refused_and_never_an_error(name, junk):
    path, query = address()
    assert not SIGNER.allows(path, query | {name: junk}, AT)


_anything = st.text(st.characters(codec=None), max_size=30)


@given(
    st.dictionaries(st.sampled_from(["chk", "from", "sig", "tid", "to"]), _anything | st.integers().map(str)),
    _anything,
)
def test_nothing_that_a_client_sends_is_an_error(query, path):
    assert not SIGNER.allows(path, query, AT)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1), st.integers(1, 10**7))
def test_what_is_signed_is_accepted(algorithm, seconds):
    path, query = address(algorithm, timedelta(seconds=seconds))
    assert SIGNER.allows(path, query, AT)
