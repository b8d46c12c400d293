from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.duration import format_duration, parse_duration, whole_seconds
from nexus.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("24h", timedelta(hours=24)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("24h0m0s", timedelta(hours=24)),
        ("1m30s", timedelta(seconds=90)),
        ("90s", timedelta(seconds=90)),
        ("1.5s", timedelta(seconds=1.5)),
        (".5h", timedelta(minutes=30)),
        ("1.h", timedelta(hours=1)),
        ("500ms", timedelta(milliseconds=500)),
        ("250us", timedelta(microseconds=250)),
        ("250\N{MICRO SIGN}s", timedelta(microseconds=250)),
        ("3000ns", timedelta(microseconds=3)),
        ("30m1h", timedelta(hours=1, minutes=30)),
        ("87600h", timedelta(days=3650)),
    ],
)
def test_a_go_duration_is_read(text, span):
    assert parse_duration("payloadValidFor", text) == span


@pytest.mark.parametrize(
    "text",
    [
        "",
        "24",
        "h",
        "1d",
        "1 h",
        " 1h",
        "1h ",
        "1h\n",
        "-1h",
        "+1h",
        "1h30",
        "1H",
        "1e3s",
        "1,5s",
        "\N{ARABIC-INDIC DIGIT ONE}h",
        "PT1H",
        13 * "9" + "h",
    ],
)
def test_what_is_no_duration_is_named(text):
    with pytest.raises(InvalidInput, match="is not a duration") as caught:
        parse_duration("payloadValidFor", text)
    assert caught.value.field == "payloadValidFor"


@pytest.mark.parametrize("text", ["0s", "0h0m", "0.0s", "87600h1s", "999999999999h"])
def test_a_duration_is_longer_than_zero_and_at_most_ten_years(text):
    with pytest.raises(InvalidInput, match="is not between zero and ten years") as caught:
        parse_duration("payloadValidFor", text)
    assert caught.value.field == "payloadValidFor"


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(hours=24), "24h0m0s"),
        (timedelta(days=7), "168h0m0s"),
        (timedelta(hours=1, seconds=1), "1h0m1s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(seconds=9), "9s"),
        (timedelta(seconds=9.9), "9.9s"),
        (timedelta(milliseconds=500), "500ms"),
        (timedelta(milliseconds=1.25), "1.25ms"),
        (timedelta(microseconds=7), "7\N{MICRO SIGN}s"),
        (timedelta(minutes=1, microseconds=1), "1m0.000001s"),
        (timedelta(0), "0s"),
    ],
)
def test_a_span_is_written_as_go_prints_it(span, text):
    assert format_duration(span) == text


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=3650)))
def test_what_is_written_is_read_again(span):
    assert parse_duration("", format_duration(span)) == span


@given(st.text(max_size=30) | st.from_regex(r"([\d.]{1,4}(h|m|s|ms|us|ns|d)?){1,4}", fullmatch=True))
def test_any_text_is_a_duration_or_invalid_input(text):
    with suppress(InvalidInput):
        span = parse_duration("field", text)
        assert timedelta(0) < span <= timedelta(days=3650)
        assert parse_duration("field", format_duration(span)) == span


@pytest.mark.parametrize("text", ["1ns", "500ns", "1h0.0000001s"])
def test_a_span_that_cannot_be_kept_is_refused(text):
    with pytest.raises(InvalidInput, match="is no whole number of microseconds; round it"):
        parse_duration("payloadValidFor", text)


@pytest.mark.parametrize(("span", "seconds"), [(0.5, 1), (1, 1), (1.000001, 2), (0, 0)])
def test_whole_seconds_do_not_end_early(span, seconds):
    assert whole_seconds(timedelta(seconds=span)) == seconds
