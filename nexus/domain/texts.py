"""Texts that can be sent, stored and put into a Job: checked where they come in, mended where a refusal would lose more."""

from __future__ import annotations

import re

from nexus.domain.errors import InvalidInput

__all__ = ["check_line", "check_text", "storable"]

_UNFIT = re.compile("[\x00\ud800-\udfff]")
"""What no UTF-8 has a form for, and what ends a string of the operating system."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_text(field: str, text: str) -> None:
    """Refuse unpaired surrogates and NUL: they fit neither UTF-8 nor a container's arguments and environment."""
    if unfit := _UNFIT.search(text):
        raise InvalidInput(field, f"has {_named(unfit[0])} at position {unfit.start()}; remove it")


def check_line(field: str, text: str) -> None:
    """Refuse control characters as well: the text names something, on one line."""
    check_text(field, text)
    if control := _CONTROL.search(text):
        raise InvalidInput(
            field, f"has the control character {control[0]!a} at position {control.start()}; remove it"
        )


def storable(text: str) -> str:
    """The text with U+FFFD, Unicode's replacement character, for each character that `check_text` refuses."""
    return _UNFIT.sub("\ufffd", text)


def _named(character: str) -> str:
    return "a NUL character" if character == "\x00" else f"the unpaired surrogate {character!a}"
