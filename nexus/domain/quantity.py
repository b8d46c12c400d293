"""Kubernetes quantities: `500m`, `2`, `1.5Gi`, `1e3`.

Grammar: apimachinery's `resource.Quantity`: a signed number, then a binary suffix, a decimal suffix or an exponent.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from nexus.domain.errors import InvalidInput

__all__ = ["parse_quantity", "scale_cpu", "whole_units"]

_SYNTAX = re.compile(
    r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,2}))?",
    re.ASCII,
)
_BINARY = {
    suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)
}
_DECIMAL = {
    suffix: Decimal(10) ** power
    for suffix, power in {
        "n": -9,
        "u": -6,
        "m": -3,
        "k": 3,
        "M": 6,
        "G": 9,
        "T": 12,
        "P": 15,
        "E": 18,
    }.items()
}

_LARGEST = 2**63 - 1


def parse_quantity(field: str, text: str) -> Decimal:
    """The value in base units (cores, bytes); InvalidInput names the field when it is none, or negative."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise InvalidInput(
            field, f"{text[:64]!r} is not a Kubernetes quantity such as '500m', '2' or '1.5Gi'"
        )
    number, binary, decimal, exponent = match.groups()
    scale = _BINARY[binary] if binary else _DECIMAL[decimal] if decimal else Decimal(10) ** int(exponent or 0)
    value = Decimal(number) * scale
    if value < 0:
        raise InvalidInput(field, f"{text[:64]!r} is negative")
    if value > _LARGEST:
        raise InvalidInput(field, f"{text[:64]!r} is more than Kubernetes can count ({_LARGEST})")
    return value


def whole_units(field: str, text: str) -> int:
    """Rounded up to whole base units, as the API server does for memory and counted resources."""
    return int(parse_quantity(field, text).to_integral_value(ROUND_CEILING))


def scale_cpu(field: str, limit: str, share: Decimal) -> str:
    """The share of a CPU limit in milli-CPU, as contract §4.5 computes the request: `4` and 0.1 give `400m`."""
    milli = (parse_quantity(field, limit) * 1000).to_integral_value(ROUND_CEILING)
    return f"{(milli * share).to_integral_value(ROUND_HALF_UP)}m"
