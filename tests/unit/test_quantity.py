from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.errors import InvalidInput
from nexus.domain.quantity import parse_quantity, scale_cpu, whole_units


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("2", "2"),
        ("+2", "2"),
        ("-0", "0"),
        ("500m", "0.5"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1n", "1e-9"),
        ("1u", "1e-6"),
        ("1k", "1000"),
        ("1M", "1000000"),
        ("1G", "1e9"),
        ("1T", "1e12"),
        ("1P", "1e15"),
        ("1E", "1e18"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("1Mi", "1048576"),
        ("1Ti", "1099511627776"),
        ("1Pi", "1125899906842624"),
        ("1Ei", "1152921504606846976"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1e+3", "1000"),
        ("1e-3", "0.001"),
        ("0.1m", "0.0001"),
    ],
)
def test_every_form_of_a_quantity_is_read(text, value):
    assert parse_quantity("cpu", text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "m",
        "Gi",
        ".",
        "+",
        "one",
        "1 Gi",
        " 1",
        "1\n",
        "1GB",
        "1gi",
        "1K",
        "1mi",
        "1e",
        "1e1.5",
        "1e3Gi",
        "1e999",
        "1.2.3",
        "1,5",
        "1_000",
        "0x10",
        "NaN",
        "Infinity",
        "--1",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "1\N{MICRO SIGN}",
        31 * "1",
    ],
)
def test_what_is_no_quantity_is_named(text):
    with pytest.raises(InvalidInput, match="is not a Kubernetes quantity") as caught:
        parse_quantity("limits.cpu", text)
    assert caught.value.field == "limits.cpu"


@pytest.mark.parametrize("text", ["-1", "-500m", "-0.1Gi", "-1e-9"])
def test_a_negative_quantity_is_refused(text):
    with pytest.raises(InvalidInput, match="is negative") as caught:
        parse_quantity("memory", text)
    assert caught.value.field == "memory"


@given(
    st.text(max_size=40) | st.from_regex(r"[+-]?[\d.]{0,9}([eE][+-]?\d{0,4}|[a-zA-Z]{0,3})", fullmatch=True)
)
def test_any_text_is_a_quantity_or_invalid_input(text):
    with suppress(InvalidInput):
        assert parse_quantity("cpu", text) >= 0


@pytest.mark.parametrize(
    ("text", "units"),
    [("0", 0), ("64Ki", 65536), ("1.5", 2), ("1m", 1), ("1000m", 1), ("1.0001Ki", 1025), ("1e9", 10**9)],
)
def test_whole_units_are_rounded_up(text, units):
    assert whole_units("memory", text) == units


@given(st.integers(0, 10**12), st.sampled_from(["", "Ki", "Mi", "k", "M"]))
def test_a_whole_number_of_bytes_is_exact(number, suffix):
    scale = {"": 1, "Ki": 1024, "Mi": 1024**2, "k": 1000, "M": 10**6}[suffix]
    assert whole_units("memory", f"{number}{suffix}") == number * scale


@pytest.mark.parametrize(
    ("limit", "share", "request_"),
    [
        ("4", "0.1", "400m"),
        ("1", "0.1", "100m"),
        ("2000m", "0.25", "500m"),
        ("1m", "0.5", "1m"),
        ("1m", "0.4", "0m"),
        ("25m", "0.1", "3m"),
        ("0.0001", "1", "1m"),
        ("1E", "0.1", "100000000000000000000m"),
    ],
)
def test_a_share_of_cpu_is_rounded_half_up_to_milli_cpu(limit, share, request_):
    assert scale_cpu("cpu", limit, Decimal(share)) == request_


@given(st.decimals("0.001", "100000", places=3), st.decimals("0.001", "1", places=3))
def test_a_share_of_cpu_is_again_a_quantity(limit, share):
    request = parse_quantity("cpu", scale_cpu("cpu", str(limit), share))
    assert abs(request - limit * share) <= Decimal("0.0005")


def test_more_than_kubernetes_can_count_is_refused():
    with pytest.raises(InvalidInput, match="more than Kubernetes can count"):
        parse_quantity("field", "1e99")
