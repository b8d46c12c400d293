"""Copies: what a shard is to have of an object, and the write that gets it there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from nexus.domain.job import GROUP
from nexus.domain.manifest import TEMPLATE
from nexus.domain.sync.objects import (
    API_VERSIONS,
    FINALIZER,
    MANAGER,
    SECRET,
    SOURCES,
    Key,
    Object,
    Owner,
)
from nexus.domain.sync.source import Source

__all__ = [
    "ADOPT",
    "SHARDS",
    "Apply",
    "Delete",
    "Sight",
    "Write",
    "chosen",
    "clashes",
    "copies",
    "decide",
    "in_place",
    "is_meant_for",
    "labels",
    "orphans",
    "owners",
    "remains",
    "surplus",
]

ADOPT = f"{GROUP}/adopt"
"""An annotation on the source, "true": an object of its name in a shard becomes its copy, whoever made it."""
SHARDS = f"shards.{GROUP}/"
"""Labels on a template or a workgroup that begin so, each with the name of a shard: it goes to these and no others."""

_NOT_KEPT = ("kubectl.kubernetes.io/", "meta.helm.sh/")
"""What deployed the source notes in its annotations, and would take its copy for its own."""


class Apply(msgspec.Struct, frozen=True):
    """Server-side apply. Where `found` is None the object must be made by it, and is not forced on anybody."""

    key: Key
    body: dict[str, Any]
    found: Object | None


class Delete(msgspec.Struct, frozen=True):
    key: Key
    uid: str


Write = Apply | Delete


class Sight(msgspec.Struct, frozen=True):
    """Everything that a decision about one shard is made of."""

    here: Source
    there: Mapping[Key, Object]
    shard: str
    installation: str
    doomed: Collection[Key] = ()
    """Copies that nothing here speaks of any more, and that may go."""


def labels(installation: str) -> dict[str, str]:
    """Of each copy: who made it. Those of upstream."""
    return {f"{GROUP}/controller-app": MANAGER, f"{GROUP}/configuration-owner": installation}


def decide(key: Key, sight: Sight) -> Write | None:
    """What is to be written next, or None: there is nothing to do, or something else must happen first."""
    found = sight.there.get(key)
    if found and found.deleting:
        return None
    body = _wanted(key, sight)
    if body is None:
        return Delete(key, found.metadata.uid) if found and _may_go(key, found, sight) else None
    if key in sight.here.broken or clashes(key, sight):
        return None
    if not all(in_place(each, sight) for each in _needs(key, sight)):
        return None
    if found is None:
        return Apply(key, body, None)
    if _must_be_made_anew(body, found):
        return Delete(key, found.metadata.uid)
    return Apply(key, body, found) if _differs(body, found, sight) else None


def chosen(source: Object) -> set[str]:
    """The shards that the labels of a source name; none: it goes to all."""
    return {label.removeprefix(SHARDS) for label in source.metadata.labels if label.startswith(SHARDS)}


def is_meant_for(source: Object, shard: str) -> bool:
    return shard in (chosen(source) or {shard})


def clashes(key: Key, sight: Sight) -> bool:
    """Whether its place in the shard is taken by what the controller did not make."""
    source, found = sight.here.objects.get(key), sight.there.get(key)
    if source is None or found is None or _is_ours(found, sight):
        return False
    return source.metadata.annotations.get(ADOPT) != "true"


def in_place(key: Key, sight: Sight) -> bool:
    """Whether the shard has its copy as it should be; of a Secret or ConfigMap, whoever owns it as yet."""
    found, body = sight.there.get(key), _wanted(key, sight)
    if found is None or body is None or found.deleting or key in sight.here.broken:
        return False
    same = not _must_be_made_anew(body, found) and not _differs(body, found, sight, by_owners=False)
    return _is_ours(found, sight) and same


def copies(sight: Sight) -> set[Key]:
    """All that the controller made there."""
    return {key for key, found in sight.there.items() if _is_ours(found, sight)}


def orphans(sight: Sight) -> set[Key]:
    """Copies that nothing here speaks of. An absence proves little: it may be a list that was not whole."""
    return {key for key in copies(sight) if not _is_spoken_of(key, sight.there[key], sight)}


def remains(source: Key, sight: Sight) -> set[Key]:
    """What is still to go of a source that is being deleted, with what it alone named."""
    named = set(sight.here.references(source))
    named |= {key for key, found in sight.there.items() if source in owners(found)}
    return {
        key
        for key in {source, *named}
        if (found := sight.there.get(key)) and _is_ours(found, sight) and _wanted(key, sight) is None
        if key == source or not _is_kept(key, sight)
    }


def surplus(body: Mapping[str, Any], found: Object) -> dict[str, Any]:
    """A merge patch that removes what others put into the contents of a copy; empty where there is nothing."""
    return _surplus({name: body.get(name, {}) for name in _contents(found)}, _contents(found))


def _wanted(key: Key, sight: Sight) -> dict[str, Any] | None:
    """The copy that the shard is to have; None where it is to have none, or what it has is left alone."""
    source = sight.here.objects.get(key)
    if source is None:
        return None
    if key.kind in SOURCES:
        return _copy(key, source, (), sight) if _goes_there(source, sight.shard) else None
    users = _users(key, sight)
    if not users:
        return None
    owned_by = []
    for user in sorted(users):
        copy = sight.there.get(user)
        if copy and not copy.deleting and _is_ours(copy, sight):
            owned_by.append(Owner(API_VERSIONS[TEMPLATE], TEMPLATE, user.name, copy.metadata.uid))
    return _copy(key, source, owned_by, sight)


def _goes_there(source: Object, shard: str) -> bool:
    """Only with the finalizer, which is what its deletion will be known by."""
    has_finalizer = FINALIZER in source.metadata.finalizers
    return has_finalizer and not source.deleting and is_meant_for(source, shard)


def _users(key: Key, sight: Sight) -> set[Key]:
    """The templates that name it, and go there."""
    objects = sight.here.objects
    return {user for user in sight.here.users(key) if _goes_there(objects[user], sight.shard)}


def _needs(key: Key, sight: Sight) -> list[Key]:
    """What must be in its place before it; what is optional, only where there is such a thing."""
    named = sight.here.references(key)
    return [each for each, needed in named.items() if needed or each in sight.here.objects]


def _copy(key: Key, source: Object, owned_by: Collection[Owner], sight: Sight) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": key.name, "labels": labels(sight.installation)}
    if annotations := _annotations(source):
        metadata["annotations"] = annotations
    if owned_by:
        metadata["ownerReferences"] = msgspec.to_builtins(owned_by)
    return {
        "apiVersion": API_VERSIONS[key.kind],
        "kind": key.kind,
        "metadata": metadata,
        **({"spec": source.spec} if key.kind in SOURCES else _held(key.kind, source)),
    }


def _annotations(source: Object) -> dict[str, str]:
    kept = source.metadata.annotations.items()
    return {name: value for name, value in kept if name != ADOPT and not name.startswith(_NOT_KEPT)}


def _held(kind: str, source: Object) -> dict[str, Any]:
    held: dict[str, Any] = {"data": source.data}
    if kind == SECRET:
        held["type"] = source.type
    if source.binary_data:
        held["binaryData"] = source.binary_data
    if source.immutable:
        held["immutable"] = True
    return held


def _contents(found: Object) -> dict[str, Any]:
    contents = {"spec": found.spec, "data": found.data, "binaryData": found.binary_data}
    return {name: value for name, value in contents.items() if value}


def _must_be_made_anew(body: Mapping[str, Any], found: Object) -> bool:
    """The API server takes no other type, and nothing new for what is immutable."""
    if found.type and body.get("type") != found.type:
        return True
    return found.immutable and (not body.get("immutable") or not _holds_the_same(body, found))


def _holds_the_same(body: Mapping[str, Any], found: Object) -> bool:
    return {name: body[name] for name in ("spec", "data", "binaryData") if body.get(name)} == _contents(found)


def _differs(body: Mapping[str, Any], found: Object, sight: Sight, *, by_owners: bool = True) -> bool:
    """What others added to labels and annotations, and other owners, are left alone."""
    annotations = body["metadata"].get("annotations", {})
    if by_owners:
        wanted = {owner["uid"] for owner in body["metadata"].get("ownerReferences", ())}
        has = {each.uid for each in found.metadata.owner_references if _is_template(each)}
        if wanted != has:
            return True
    return (
        not _holds_the_same(body, found)
        or bool(body.get("immutable")) != found.immutable
        or not _is_ours(found, sight)
        or not annotations.items() <= found.metadata.annotations.items()
        or not found.owned_annotations <= annotations.keys()
    )


def _is_ours(found: Object, sight: Sight) -> bool:
    return labels(sight.installation).items() <= found.metadata.labels.items()


def _is_template(owner: Owner) -> bool:
    return (owner.api_version, owner.kind) == (API_VERSIONS[TEMPLATE], TEMPLATE)


def owners(found: Object) -> set[Key]:
    """The templates whose copies own this one."""
    return {Key(TEMPLATE, each.name) for each in found.metadata.owner_references if _is_template(each)}


def _may_go(key: Key, found: Object, sight: Sight) -> bool:
    if not _is_ours(found, sight) or _is_kept(key, sight):
        return False
    return _is_spoken_of(key, found, sight) or key in sight.doomed


def _is_kept(key: Key, sight: Sight) -> bool:
    """It is missing here and runs need it there: what they have is better than nothing."""
    return key not in sight.here.objects and any(
        sight.here.references(user)[key] for user in _users(key, sight)
    )


def _is_spoken_of(key: Key, found: Object, sight: Sight) -> bool:
    """Whether something that is here says what is to become of this copy."""
    if key.kind in SOURCES:
        return key in sight.here.objects
    users = sight.here.users(key) | owners(found)
    return key in sight.here.dropped or any(user in sight.here.objects for user in users)


def _surplus(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {name: None for name in found if name not in wanted}
    for name, value in found.items():
        below = wanted.get(name)
        if isinstance(value, dict) and isinstance(below, dict) and (more := _surplus(below, value)):
            patch[name] = more
    return patch
