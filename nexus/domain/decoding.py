"""Reading JSON that somebody sent: whatever is wrong with it is InvalidInput, in words that say what and where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from nexus.domain.errors import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["decoded", "mended"]

T = TypeVar("T")

_HIGH = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_UNPAIRED = re.compile(rb"(?<!\\)((?:\\\\)*)(%b(?!%b)|(?<!%b)%b)" % (_HIGH, _LOW, _HIGH, _LOW))
"""The escape of half a surrogate pair, after any number of escaped backslashes."""


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


def mended(body: Buffer) -> bytes:
    """The body with U+FFFD, Unicode's replacement character, for each unpaired surrogate that it escapes."""
    return _UNPAIRED.sub(rb"\1\\ufffd", body) if b"\\u" in bytes(body) else bytes(body)


def _unpaired(body: Buffer) -> str | None:
    found = _UNPAIRED.search(body)
    if found is None:
        return None
    escape = found[2].decode()
    return (
        f"the JSON has the unpaired surrogate escape {escape} at byte {found.start(2)}: remove it, or pair it"
    )
