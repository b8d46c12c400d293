"""What a cluster keeps of templates, workgroups, Secrets and ConfigMaps, as far as an API server cares."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nexus.domain.errors import Refused
from nexus.domain.sync.objects import MANAGER, SECRET, SOURCES, Key, Object
from nexus.ports import ObjectChange
from tests.simulation.chance import Chance

__all__ = ["Plain", "Server"]

Plain = dict[str, Any]


class Server:
    """`collects`: whether it has controllers, which delete what lost its owners."""

    def __init__(self, name: str, chance: Chance, *, collects: bool) -> None:
        self.name = name
        self.uid = chance.uuid()
        self.things: dict[Key, Plain] = {}
        self.watches: dict[object, tuple[str, Callable[[ObjectChange], None]]] = {}
        self.writes = 0
        self._new_uid = chance.uuid
        self._version = 0
        self._collects = collects

    def object(self, key: Key) -> Object | None:
        found = self.things.get(key)
        return None if found is None else msgspec.convert(found, Object)

    def all(self, kind: str) -> list[Object]:
        return [msgspec.convert(each, Object) for key, each in self.things.items() if key.kind == kind]

    def put(self, key: Key, body: Mapping[str, Any], **metadata: Any) -> None:
        """By anybody: `body` is all that stands beside the metadata."""
        found = self.things.get(key)
        kept = found["metadata"] if found else {"name": key.name, "uid": self._new_uid(), "generation": 1}
        status = {"status": found["status"]} if found and "status" in found else {}
        if found and found.get("spec") != body.get("spec"):
            kept = kept | {"generation": kept["generation"] + 1}
        self.things[key] = {**copy.deepcopy(dict(body)), **status, "metadata": {**kept, **metadata}}
        self._tell("MODIFIED" if found else "ADDED", key)

    def apply(self, key: Key, body: Mapping[str, Any]) -> Object:
        """What the controller owns becomes what it says; annotations of others stay."""
        found = self.things.get(key)
        if found and found.get("type", "") != body.get("type", ""):
            raise Refused(422, "type: field is immutable")
        if found and found.get("immutable") and found.get("data") != body.get("data"):
            raise Refused(422, "data: field is immutable")
        before, metadata = (found or {}).get("metadata", {}), body["metadata"]
        ours = metadata.get("annotations", {})
        theirs = {
            name: value for name, value in before.get("annotations", {}).items() if name not in _owned(before)
        }
        fields = {"f:metadata": {"f:annotations": {f"f:{name}": {} for name in ours}}}
        self.put(
            key,
            {name: value for name, value in body.items() if name not in {"apiVersion", "kind", "metadata"}},
            labels=before.get("labels", {}) | metadata["labels"],
            annotations=theirs | ours,
            ownerReferences=metadata.get("ownerReferences", []),
            managedFields=[{"manager": MANAGER, "operation": "Apply", "fieldsV1": fields}],
        )
        self.writes += 1
        return msgspec.convert(self.things[key], Object)

    def change(self, key: Key, found: Plain, **members: Any) -> Object:
        """By the controller: the finalizers or the status."""
        metadata = found["metadata"] | members.pop("metadata", {})
        self.things[key] = {**found, **members, "metadata": metadata}
        self.writes += 1
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            changed = msgspec.convert(self.things[key], Object)
            self._remove(key)
            return changed
        self._tell("MODIFIED", key)
        return msgspec.convert(self.things[key], Object)

    def delete(self, key: Key) -> None:
        found = self.things.get(key)
        if found is None:
            return
        if found["metadata"].get("finalizers"):
            if not found["metadata"].get("deletionTimestamp"):
                found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
                self._tell("MODIFIED", key)
        else:
            self._remove(key)

    def end_watches(self) -> None:
        """As 410 Gone does."""
        watches, self.watches = self.watches, {}
        for _, tell in watches.values():
            tell(None)  # type: ignore[arg-type]

    def _remove(self, key: Key) -> None:
        self._tell("DELETED", key)
        del self.things[key]
        if self._collects and key.kind in SOURCES:
            uids = {each["metadata"]["uid"] for each in self.things.values()}
            for other, each in [*self.things.items()]:
                owners = each["metadata"].get("ownerReferences", [])
                if owners and not any(owner["uid"] in uids for owner in owners):
                    self._remove(other)

    def _tell(self, kind: Any, key: Key) -> None:
        self._version += 1
        self.things[key]["metadata"] = self.things[key]["metadata"] | {"resourceVersion": str(self._version)}
        if key.kind == SECRET:
            self.things[key].setdefault("type", "Opaque")
        change = ObjectChange(kind, msgspec.convert(self.things[key], Object))
        for watched, tell in [*self.watches.values()]:
            if watched == key.kind:
                tell(change)


def _owned(metadata: Plain) -> set[str]:
    return {
        name.removeprefix("f:")
        for managed in metadata.get("managedFields", [])
        for name in managed["fieldsV1"]["f:metadata"]["f:annotations"]
    }
