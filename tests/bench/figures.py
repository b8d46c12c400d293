"""Figures of a benchmark: ours beside the bare engine's, several times in turn, because machines are noisy."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

__all__ = ["Pair", "quantile"]


class Pair(msgspec.Struct):
    """Rates of both sides; round n of one ran right beside round n of the other."""

    ours: list[float] = []
    bare: list[float] = []

    @property
    def rate(self) -> float:
        return statistics.median(self.ours)

    @property
    def bare_rate(self) -> float:
        return statistics.median(self.bare)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: what both sides suffered alike cancels out."""
        return statistics.median(ours / bare for ours, bare in zip(self.ours, self.bare, strict=True))


def quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
