"""Go durations (`24h`, `1h30m`, `1.5s`), the form in which upstream's clients write spans of time."""

from __future__ import annotations

import re
from datetime import timedelta

from nexus.domain.errors import InvalidInput

__all__ = ["format_duration", "parse_duration"]

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d{1,12}(?:\.\d{0,9})?|\.\d{1,9})(ns|us|µs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_duration(field: str, text: str) -> timedelta:
    """A span of time longer than zero and at most ten years; InvalidInput names the field otherwise."""
    if not _WHOLE.fullmatch(text):
        raise InvalidInput(field, f"{text[:64]!r} is not a duration such as '24h' or '1h30m'")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not 0 < seconds <= 10 * 365 * 86400:
        raise InvalidInput(field, f"{text[:64]!r} is not between zero and ten years")
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """As Go prints it, to the second: `24h0m0s`, `1m30s`, `0s`."""
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
