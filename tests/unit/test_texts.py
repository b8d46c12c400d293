"""Texts that can be sent, stored and put into a Job."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.errors import InvalidInput
from nexus.domain.submission import read_overrides, read_submission
from nexus.domain.texts import check_line, check_text, storable

ANY = st.text(st.characters(exclude_categories=[]))


@given(ANY)
def test_what_passes_can_be_sent_and_is_kept_as_it_is(text: str) -> None:
    try:
        check_text("it", text)
    except InvalidInput:
        assert storable(text) != text
    else:
        assert storable(text) == text
    assert storable(text).encode().decode() == storable(text)
    assert len(storable(text)) == len(text)
    check_text("it", storable(text))


def test_a_report_that_cannot_be_stored_is_marked_where_it_was_mended() -> None:
    assert storable("a\ud800b\x00c\n") == "a\ufffdb\ufffdc\n"


@pytest.mark.parametrize("character", ["\x00", "\n", "\t", "\x1b", "\x7f", "\x9b", "\u2028", "\udc00"])
def test_a_line_has_no_control_characters(character: str) -> None:
    with pytest.raises(InvalidInput, match=r"^tag: has .* at position 1; remove it$"):
        check_line("tag", f"a{character}b")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"tag": "a\x00"}, "tag"),
        ({"tag": "\x1b[2J"}, "tag"),
        ({"requestApiVersion": "1\x00"}, "requestApiVersion"),
        ({"parentRequest": {"requestId": "a\x00", "algorithmName": "b"}}, "parentRequest.requestId"),
        ({"parentRequest": {"requestId": "a", "algorithmName": "b\n"}}, "parentRequest.algorithmName"),
        ({"customConfiguration": {"args": ["a", "\x00"]}}, "customConfiguration.args[1]"),
        (
            {"customConfiguration": {"runtimeEnvironment": {"annotations": {"a\x00": ""}}}},
            "customConfiguration.runtimeEnvironment.annotations (a key)",
        ),
    ],
)
def test_a_submission_is_told_the_place(members: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_overrides(read_submission(msgspec.json.encode({"algorithmParameters": {}} | members)))
    assert caught.value.field == field
