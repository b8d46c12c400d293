"""Kinds of values, and how each is written: in a file, in a variable, and where the configuration is shown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from nexus.domain.duration import format_duration, parse_duration
from nexus.domain.errors import InvalidInput
from nexus.domain.payload import LONGEST_KEY, SHORTEST_KEY
from nexus.domain.quantity import whole_units

__all__ = ["NEVER", "Secret", "SigningKey", "Size", "Span", "SpanOrNever", "read", "write"]

_MICRO = timedelta(microseconds=1)


class Span(timedelta):
    """A span of time, written as a Go duration: `24h`, `1m30s`, `500ms`."""


class SpanOrNever(Span):
    """A span of time, or `never` for one without an end."""


NEVER = SpanOrNever(days=timedelta.max.days)


class Size(int):
    """Bytes, written as a Kubernetes quantity: `64Ki`, `500Mi`."""


class Secret(str):
    """A password or key: never shown."""

    __slots__ = ()


class SigningKey(Secret):
    """32 to 64 bytes, or none."""

    __slots__ = ()


def read(kind: type, value: object) -> object:
    if value is None:
        raise ValueError("has no value")
    try:
        return _parse(kind, str(value))
    except InvalidInput as error:
        raise ValueError(error.problem) from None  # the decoder adds the key to a ValueError


def _parse(kind: type, text: str) -> object:
    if kind is Span:
        return Span(microseconds=parse_duration("", text) // _MICRO)
    if kind is SpanOrNever:
        return NEVER if text == "never" else SpanOrNever(microseconds=parse_duration("", text) // _MICRO)
    if kind is Size:
        return Size(whole_units("", text))
    if kind is Secret:
        return Secret(text)
    if kind is SigningKey:
        if text and not SHORTEST_KEY <= len(text.encode()) <= LONGEST_KEY:
            raise ValueError(
                f"needs {SHORTEST_KEY} to {LONGEST_KEY} bytes: write a random one, such as `openssl rand -base64 32` prints"
            )
        return SigningKey(text)
    if kind is Path:
        return Path(text)
    raise NotImplementedError(kind)


def write(value: object) -> object:
    if value == NEVER:
        return "never"
    if isinstance(value, timedelta):
        return format_duration(value)
    return int(value) if isinstance(value, Size) else str(value)
