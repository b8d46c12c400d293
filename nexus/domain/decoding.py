"""Reading what somebody sent or wrote: whatever is wrong with it is InvalidInput, in words that say what and where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from nexus.domain.errors import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["converted", "decoded", "mended"]

T = TypeVar("T")

_D, _HIGH, _LOW = rb"\\u[dD]", rb"[89abAB][0-9a-fA-F]{2}", rb"[c-fC-F][0-9a-fA-F]{2}"
_UNPAIRED = re.compile(_D + rb"(?:%b(?!%b)|(?<!%b)%b)" % (_HIGH, _D + _LOW, _D + _HIGH + _D, _LOW))
"""The escape of half a surrogate pair, where no backslash is itself escaped."""


def decoded(decoder: msgspec.json.Decoder[T], body: Buffer, field: str = "") -> T:
    """Raises InvalidInput for `field` where the body is no JSON, no UTF-8, too deep, or of another shape."""
    try:
        return decoder.decode(body)
    except RecursionError:
        raise InvalidInput(field, "the JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(field, f"the JSON is not UTF-8: {error}") from None
    except msgspec.ValidationError as error:
        raise InvalidInput(field, str(error)) from None
    except msgspec.DecodeError as error:
        raise InvalidInput(field, _unpaired(body) or str(error)) from None


def converted(value: object, shape: type[T], field: str) -> T:
    """Make the shape of plain data. Raises InvalidInput that names the member below `field`."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise InvalidInput(field + path.rstrip("`"), problem) from None


def mended(body: Buffer) -> bytes:
    """The body with U+FFFD, Unicode's replacement character, for each unpaired surrogate that it escapes."""
    return _UNPAIRED.sub(rb"\\ufffd", _hidden(body)).replace(_HIDDEN, rb"\\")


def _unpaired(body: Buffer) -> str | None:
    found = _UNPAIRED.search(_hidden(body))
    if found is None:
        return None
    escape = found[0].decode()
    return (
        f"the JSON has the unpaired surrogate escape {escape} at byte {found.start()}: remove it, or pair it"
    )


_HIDDEN = b"\x00\x00"
"""Stands for an escaped backslash, in as many bytes; JSON has no NUL of its own."""


def _hidden(body: Buffer) -> bytes:
    return bytes(body).replace(rb"\\", _HIDDEN)
