"""Unreachable clusters: since when, and when that ends a run.

Unreachable is not dead (docs/architecture.md, "The watermark").
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from nexus.domain.diagnosis.ending import Ending, Failure, ended
from nexus.domain.events import Evidence, RunFailed
from nexus.domain.run import Run

__all__ = [
    "REMOVED",
    "UNREACHABLE",
    "Contact",
    "given_up",
    "given_up_at",
    "last_contact",
    "removed",
    "unreachable_since",
]


class Contact(msgspec.Struct, frozen=True):
    """When a cluster last answered. `identity` tells it from another that got its name."""

    cluster: str
    identity: str
    at: datetime


def last_contact(run: Run, heard: Iterable[Contact]) -> datetime:
    """Tell when the cluster that has, or is to have, the run's Job last answered.

    Where it never did: when the run was placed or, where it was not, requested.
    """
    answers = (
        each.at
        for each in heard
        if each.cluster == run.request.cluster and run.cluster_id in {"", each.identity}
    )
    return max((*answers, run.sent_at or run.request.at))


def unreachable_since(
    run: Run, heard: Iterable[Contact], now: datetime, silence: timedelta
) -> datetime | None:
    """Tell since when the cluster of an unfinished run is unreachable; None where it answered within `silence`."""
    if run.ended:
        return None
    last = last_contact(run, heard)
    return last if now - last >= silence else None


def given_up_at(run: Run, heard: datetime, max_unreachable: timedelta) -> datetime:
    """Tell when a placed run ends whose cluster last answered at `heard`.

    That is `max_unreachable` after the later of that and the run's own deadline.
    """
    deadline = timedelta(seconds=run.request.spec.runtime_environment.deadline_seconds or 0)
    return max((run.sent_at or run.request.at) + deadline, heard) + max_unreachable


UNREACHABLE = Ending(
    category="ClusterNotHeard",
    when="its cluster was unreachable until supervision.max_unreachable after the run's own deadline",
    ends_as=RunFailed,
    cause="The cluster that ran the algorithm has not been heard for too long.",
    hint="Check that the cluster is up and that Nexus reaches it. What the run did there is not known: look at its "
    "results before you submit it again.",
)

REMOVED = Ending(
    category="ClusterRemoved",
    when="an operator removed its cluster for good",
    ends_as=RunFailed,
    cause="The cluster that ran the algorithm was removed.",
    hint="Submit it again, in a workgroup of another cluster.",
)


def given_up(run: Run, heard: datetime, now: datetime) -> Failure:
    """End a placed run whose cluster is unreachable for too long."""
    details = (
        f"The cluster {run.request.cluster} ({run.cluster_id}) was last heard at {heard:%Y-%m-%d %H:%M:%S}Z, "
        "and the run's own deadline is long over."
    )
    return _lost(run, UNREACHABLE, details, now)


def removed(run: Run, now: datetime) -> Failure:
    """The end of a placed run whose cluster an operator removed."""
    return _lost(
        run, REMOVED, f"The configuration names the cluster {run.request.cluster} as removed for good.", now
    )


def _lost(run: Run, ending: Ending, details: str, now: datetime) -> Failure:
    note = "no log and no events, because the cluster cannot be asked"
    return ended(run, ending, ending.diagnosis(details), Evidence(note=note), now)
