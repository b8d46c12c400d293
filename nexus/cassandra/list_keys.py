"""The lists that a run is in: rows by which it is found by something else than its key.

A list is cut into buckets, spans of time, so that no partition grows without bound; a directory says which buckets of a list
hold something, so that walking a list reads no others. Entries are hints: readers check them against the run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from nexus.domain.run import Run, Stage

__all__ = [
    "ALL",
    "DUE",
    "FAR",
    "UNCOLLECTED",
    "Listing",
    "bucket_at",
    "bucket_of",
    "listings",
    "micros",
    "of_algorithm",
    "of_parent",
    "of_stage",
    "of_tag",
]

ALL = "all"
DUE = "due"
UNCOLLECTED = "uncollected"

_BITS = 14
"""A bucket is 2^14 ms: at 1,500 runs a second some 25,000 rows."""

FAR = 1 << 40
"""Beyond every bucket."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


class Listing(NamedTuple):
    """A place in a list: by `rank`, microseconds, and then by id. Lists by id alone have rank 0."""

    scope: str
    bucket: int
    rank: int


def of_algorithm(name: str) -> str:
    return f"algorithm/{name}"


def of_tag(tag: str) -> str:
    return f"tag/{tag}"


def of_parent(request_id: str) -> str:
    return f"parent/{request_id}"


def of_stage(stage: Stage) -> str:
    return f"stage/{stage.value}"


def listings(run: Run) -> frozenset[Listing]:
    """All that a run in this state is in."""
    request = run.request
    scopes = [ALL, of_algorithm(request.algorithm), of_stage(run.stage)]
    if run.tag:
        scopes.append(of_tag(run.tag))
    if request.parent:
        scopes.append(of_parent(request.parent.request_id))
    bucket = bucket_of(run.id)
    found = [Listing(scope, bucket, 0) for scope in scopes]
    if run.stage is Stage.BUFFERED:
        due = min(request.placement_deadline, run.deferred_until or request.placement_deadline)
        found.append(Listing(DUE, bucket_at(due), micros(due)))
    if run.ended_at and run.has_job:
        found.append(Listing(UNCOLLECTED, bucket_at(run.ended_at), micros(run.ended_at)))
    return frozenset(found)


def bucket_of(request_id: str) -> int:
    """By the time in a UUIDv7, which is its first 48 bits; what is no UUID is in bucket 0, and never found."""
    try:
        return int(request_id[:8] + request_id[9:13], 16) >> _BITS
    except ValueError:
        return 0


def bucket_at(moment: datetime) -> int:
    return (micros(moment) // 1000) >> _BITS


def micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICRO
