"""How much somebody may take in a time: what is not taken is kept for a second, and more than there is may be taken once."""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """`rate` is how much there is a second. Times are seconds of one monotonic clock. It begins full."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._left = self._most
        self._counted = now

    def wait(self, now: float) -> float:
        """The seconds until there is something to take; 0 where there is."""
        self._left = min(self._most, self._left + (now - self._counted) * self._rate)
        self._counted = now
        return 0.0 if self._left > 0 else (1e-6 - self._left) / self._rate

    def take(self, amount: float) -> None:
        """What is taken beyond what there is has to come back first."""
        self._left -= amount
