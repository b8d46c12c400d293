"""The end of a log begins where a reader can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.tail import tail
from nexus.embedded.cluster import logs


@pytest.mark.parametrize(
    ("log", "limit", "end"),
    [
        (b"", 10, ""),
        (b"whole\n", 6, "whole\n"),
        (b"one\ntwo\nthree\n", 10, "two\nthree\n"),
        (b"one\ntwo\nthree\n", 11, "two\nthree\n"),
        (b"one\ntwo\nthree\n", 9, "three\n"),
        (b"0123456789\n", 6, "56789\n"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}".encode() * 10, 5, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 2),
        ("\N{GRINNING FACE}".encode() * 3, 7, "\N{GRINNING FACE}"),
    ],
)
def test_it_begins_with_a_line_or_a_character(log, limit, end):
    assert tail(log, limit) == end


@given(st.text(st.sampled_from("ab\n\xe9\N{GRINNING FACE}")), st.integers(1, 40))
def test_it_is_the_end_with_no_broken_character_and_at_least_half(text, limit):
    log = text.encode()
    end = tail(log, limit)
    assert text.endswith(end)
    assert len(end.encode()) <= limit
    assert len(end.encode()) >= min(len(log), limit - limit // 2 - 4)


def test_the_log_of_a_local_job_is_cut_like_that(tmp_path):
    path = tmp_path / "log"
    path.write_text("first\nsecond\n\xe9\xe9\xe9\n", encoding="utf-8")
    assert logs.tail(str(path), 10) == "\xe9\xe9\xe9\n"
    assert logs.tail(str(path), 4) == "\xe9\n"
    assert logs.tail(str(path), 1000) == path.read_text(encoding="utf-8")
