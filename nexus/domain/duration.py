"""Go durations (`24h`, `1h30m`, `1.5s`), the form in which upstream's clients write spans of time."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from nexus.domain.errors import InvalidInput

__all__ = ["format_duration", "is_duration", "parse_duration", "whole_seconds"]

_MICRO = timedelta(microseconds=1)
_UNITS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "ms": Decimal(1_000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
"""In microseconds: no span is kept more finely."""
_PART = re.compile(r"(\d{1,12}(?:\.\d{0,9})?|\.\d{1,9})(ns|us|µs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_LONGEST = timedelta(days=10 * 365)


def is_duration(text: str) -> bool:
    """Whether it is written like a span of time, however long."""
    return bool(_WHOLE.fullmatch(text))


def parse_duration(field: str, text: str) -> timedelta:
    """A span of time longer than zero and at most ten years, in microseconds; InvalidInput names the field otherwise."""
    if not is_duration(text):
        raise InvalidInput(field, f"{text[:64]!r} is not a duration such as '24h' or '1h30m'")
    micros = sum((Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(text)), Decimal(0))
    if not 0 < micros <= _LONGEST // _MICRO:
        raise InvalidInput(field, f"{text[:64]!r} is not between zero and ten years")
    if micros != int(micros):
        raise InvalidInput(field, f"{text[:64]!r} is no whole number of microseconds; round it")
    return timedelta(microseconds=int(micros))


def format_duration(span: timedelta) -> str:
    """As Go prints it: `24h0m0s`, `1m30s`, `1.5s`, `500ms`, `0s`. What `parse_duration` reads is the same span."""
    micros = span // _MICRO
    if 0 < micros < 1000:
        return f"{micros}µs"
    if 0 < micros < 1_000_000:
        return f"{_number(micros, 3)}ms"
    minutes, rest = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_number(rest, 6)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def whole_seconds(span: timedelta) -> int:
    """Rounded up: what is counted in seconds must not end early, and 0 often means for ever."""
    return -(-span // timedelta(seconds=1))


def _number(value: int, places: int) -> str:
    """`value` with its last `places` digits behind the point, and no zeros at the end of those."""
    whole, part = divmod(value, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".") if part else str(whole)
