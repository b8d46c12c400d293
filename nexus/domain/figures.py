"""What processes know of a cluster that they serve, for whoever looks: no projection, and no reason for anything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

import msgspec

__all__ = ["Figures", "total"]

N = TypeVar("N", int, float)


class Figures(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Of one process, `source`, at one time. None is what this process cannot know."""

    cluster: str
    source: str
    at: datetime
    nexus: tuple[str, ...] = ()
    """Versions."""
    kubernetes: str = ""
    queued: int | None = None
    queued_by: dict[str, int] | None = None
    """How many of those that are looked ahead over each tenant has."""
    oldest: datetime | None = None
    """When the request was made that has waited longest."""
    pending: int | None = None
    window: int | None = None
    """How many Jobs may be pending."""
    rate: float | None = None
    """Jobs created per second, at most."""


def total(cluster: str, figures: Iterable[Figures]) -> Figures | None:
    """Of all processes that serve the cluster; None where none told anything."""
    those = sorted((each for each in figures if each.cluster == cluster), key=lambda each: each.at)
    if not those:
        return None
    return Figures(
        cluster=cluster,
        source="",
        at=those[-1].at,
        nexus=tuple(sorted({version for each in those for version in each.nexus})),
        kubernetes=next((each.kubernetes for each in reversed(those) if each.kubernetes), ""),
        queued=_sum(each.queued for each in those),
        oldest=min((each.oldest for each in those if each.oldest), default=None),
        pending=_sum(each.pending for each in those),
        window=_sum(each.window for each in those),
        rate=_sum(each.rate for each in those),
    )


def _sum(values: Iterable[N | None]) -> N | None:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None
