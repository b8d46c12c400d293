"""How a source stands in one shard, in upstream's words where it has them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from nexus.domain.sync.copies import Sight, clashes, decide, in_place, is_meant_for, remains
from nexus.domain.sync.objects import ConditionStatus, Key

__all__ = [
    "CLASH",
    "FAILED",
    "LACKS_KINDS",
    "MISSING",
    "REMOVED",
    "SEEN_TWICE",
    "SYNCED",
    "UNREACHABLE",
    "Standing",
    "standing",
]

CLASH, MISSING, FAILED = "ErrResourceExists", "ErrResourceMissing", "ErrResourceSyncError"
UNREACHABLE, LACKS_KINDS, SEEN_TWICE = "ClusterUnreachable", "ClusterLacksKinds", "ClusterSeenTwice"
"""Of a whole shard."""
REMOVED, SYNCED = "CopyRemoved", "Synced"


class Standing(msgspec.Struct, frozen=True):
    """A condition about one shard."""

    status: ConditionStatus
    reason: str
    message: str


def standing(key: Key, sight: Sight, failures: Mapping[Key, str]) -> Standing | None:
    """None while the next step is under way. `failures` are the last words of the shard about each object."""
    source = sight.here.objects[key]
    named = sight.here.references(key)
    if problem := sight.here.broken.get(key):
        return _failed(key, key, problem)
    if source.deleting or not is_meant_for(source, sight.shard):
        left = sorted(remains(key, sight))
        if not left:
            return Standing("True", REMOVED, "it has no copy there")
        return _held_up(left[0], key, sight, failures)
    for each, needed in named.items():
        if needed and each not in sight.here.objects:
            return Standing("False", MISSING, missing(each, key))
    for each in (*named, key):
        if clashes(each, sight):
            return Standing("False", CLASH, clash(each))
        if each in failures:
            return _failed(each, key, failures[each])
        if (found := sight.there.get(each)) and found.deleting:
            return _held_up(each, key, sight, failures)
        if each in sight.here.objects and (decide(each, sight) or not in_place(each, sight)):
            return None
    return Standing("True", SYNCED, "its copy is up to date")


def clash(key: Key) -> str:
    return f'Resource "{key.name}" already exists and is not managed by any Machine Learning Algorithm'


def missing(key: Key, source: Key) -> str:
    return f'Resource "{key.name}" referenced by {source.kind} "{source.name}" is missing in the controller cluster'


def _failed(key: Key, source: Key, problem: str) -> Standing:
    text = (
        f'Synchronization/update of a resource "{key.name}" referenced by {source.kind} "{source.name}" '
        f"failed with a fatal error {problem}"
    )
    return Standing("False", FAILED, text)


def _held_up(key: Key, source: Key, sight: Sight, failures: Mapping[Key, str]) -> Standing | None:
    """Of a copy that is to go: nothing to say until it is known why it stays."""
    if key in failures:
        return _failed(key, source, failures[key])
    found = sight.there.get(key)
    if found and found.deleting:
        waits = ", ".join(found.metadata.finalizers) or "the cluster"
        return Standing("False", FAILED, f"the deletion of the {key.kind} {key.name} there waits for {waits}")
    return None
