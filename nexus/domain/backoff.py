"""How long to wait between attempts at what is refused, or away."""

from __future__ import annotations

__all__ = ["delay"]


def delay(attempt: int, jitter: float, first: float, longest: float) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 1).

    They double from `first` up to `longest`. `jitter` (0 to 1) takes up to half off, so that many who wait for one
    server do not come back at once.
    """
    return min(longest, first * 2.0 ** min(attempt - 1, 30)) * (1.0 - jitter / 2)
