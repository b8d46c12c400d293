"""Whose report is taken: the receiver's side of capabilities."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from prometheus_client import Counter

from nexus.domain.access import Capabilities
from nexus.domain.errors import Unauthenticated

__all__ = ["Reports"]

_UNPROVED = Counter(
    "nexus_reports_unproved_total", "Reports that did not prove of which run they are", ["taken"]
)
_MOST_NAMED = 10_000
"""Runs of which a process remembers that it has named them."""


class Reports:
    """`open`: every report is taken. `observe`: too, and counted where nothing proves it. `capability`: it is refused."""

    def __init__(
        self,
        mode: Literal["open", "observe", "capability"] = "open",
        capabilities: Capabilities | None = None,
    ) -> None:
        self._capabilities = capabilities if mode != "open" else None
        self._refuses = mode == "capability"
        self._named: set[str] = set()

    def problem(self, capability: str, request_id: str, algorithm: str, now: datetime) -> str:
        """Why what is said of the run proves nothing, empty where it does; nobody has read its row for that."""
        if self._capabilities is None:
            return ""
        return self._capabilities.problem(capability, request_id, algorithm, now)

    def knows(self, capability: str, now: datetime) -> bool:
        """Whether one that proves its run tells all that its row would: that there is one, and that it may still report."""
        return self._capabilities is not None and self._capabilities.young(capability, now)

    def late(self, ended_at: datetime | None, now: datetime) -> str:
        return self._capabilities.ended(ended_at, now) if self._capabilities else ""

    def refuse(self, problem: str) -> None:
        """Count what was not proved. Raises Unauthenticated where that is not taken."""
        _UNPROVED.labels("no" if self._refuses else "yes").inc()
        if self._refuses:
            raise Unauthenticated(f"the report is not taken: {problem}")

    def first(self, request_id: str) -> bool:
        """Whether this process has not named this run before: once for each run is evidence, more is noise."""
        if request_id in self._named or len(self._named) >= _MOST_NAMED:
            return False
        self._named.add(request_id)
        return True
