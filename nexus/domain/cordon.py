"""Cordoned clusters: those that finish what they have, and are given nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from nexus.domain.events import ClusterCordoned, ClusterUncordoned

__all__ = ["Cordon", "cordoned_after"]


class Cordon(msgspec.Struct, frozen=True):
    """That a cluster is cordoned: since when, by whom (`subject`), and why."""

    cluster: str
    since: datetime
    subject: str = ""
    reason: str = ""

    def __str__(self) -> str:
        by = f" by {self.subject}" if self.subject else ""
        because = f" ({self.reason})" if self.reason else ""
        return f"the cluster {self.cluster} is cordoned since {self.since:%Y-%m-%d %H:%M:%S}Z{by}{because}"


def cordoned_after(
    standing: Mapping[str, Cordon], event: ClusterCordoned | ClusterUncordoned
) -> dict[str, Cordon]:
    """Fold one event of a cluster. A cordon of what is cordoned changes nothing: the first one stands."""
    if isinstance(event, ClusterUncordoned):
        return {name: cordon for name, cordon in standing.items() if name != event.cluster}
    return {event.cluster: Cordon(event.cluster, event.at, event.subject, event.reason), **standing}
