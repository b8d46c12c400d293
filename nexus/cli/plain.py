"""Text of others, made safe for a terminal: nothing in it moves the cursor, hides words or changes their order."""

from __future__ import annotations

import re

__all__ = ["plain", "plain_json"]

# Controls (C0 but tab and newline, DEL, C1), what changes the direction of text, line separators, half surrogate pairs.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def plain(text: str) -> str:
    r"""Show what is not safe as Python writes it: `\x1b`, `\u202e`. Line ends of Windows become newlines."""
    return _UNSAFE.sub(_escaped, text.replace("\r\n", "\n"))


def plain_json(document: str) -> str:
    """The same document: what is not safe and not escaped yet is inside its strings."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
