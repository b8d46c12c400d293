"""What is described in the cluster that the controller syncs from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nexus.domain.errors import InvalidInput
from nexus.domain.manifest import TEMPLATE
from nexus.domain.plain import check_plain
from nexus.domain.sync.objects import KINDS, SOURCES, Key, Object
from nexus.domain.sync.references import references

__all__ = ["Source"]


class Source:
    """The objects, and who names whom. A change gives the keys that are to be looked at again."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.broken: dict[Key, str] = {}
        """What cannot be copied as it is, and why."""
        self.dropped: set[Key] = set()
        """What a template that is here was the last to name, and names no more."""
        self._lists = dict.fromkeys(KINDS, 0)
        self._names: dict[Key, Mapping[Key, bool]] = {}
        self._users: dict[Key, set[Key]] = {}

    @property
    def lists(self) -> int:
        """How often all kinds were listed in whole: nothing is known to be absent before the first time."""
        return min(self._lists.values())

    def references(self, template: Key) -> Mapping[Key, bool]:
        """What a template names, and whether its runs need it."""
        return self._names.get(template, {})

    def users(self, key: Key) -> set[Key]:
        """The templates that name it."""
        return self._users.get(key, set())

    def concerns(self, key: Key) -> set[Key]:
        """The sources whose status this object is part of."""
        return {key} if key.kind in SOURCES else set(self.users(key))

    def replace(self, kind: str, objects: Iterable[Object]) -> set[Key]:
        """Take a whole list: what is not in it is gone."""
        self._lists[kind] += 1
        listed = {Key(kind, thing.metadata.name): thing for thing in objects}
        gone = [key for key in self.objects if key.kind == kind and key not in listed]
        changed = set[Key]().union(*(self.remove(key) for key in gone))
        return changed.union(*(self.put(key, thing) for key, thing in listed.items()))

    def put(self, key: Key, thing: Object) -> set[Key]:
        self.objects[key] = thing
        self.broken.pop(key, None)
        try:
            check_plain(thing.spec, "spec")
        except InvalidInput as error:
            self.broken[key] = str(error)
        if key.kind != TEMPLATE:
            return {key}
        names = references(thing.spec)
        changed = self._rename(key, names)
        self.dropped |= {each for each in changed if not self.users(each)}
        self.dropped -= names.keys()
        return {key} | changed

    def remove(self, key: Key) -> set[Key]:
        self.objects.pop(key, None)
        self.broken.pop(key, None)
        return {key} | self._rename(key, {})

    def _rename(self, template: Key, names: Mapping[Key, bool]) -> set[Key]:
        """What it named before and what it names now."""
        before = self._names.pop(template, {})
        for key in before:
            self._users[key].discard(template)
            if not self._users[key]:
                del self._users[key]
        for key in names:
            self._users.setdefault(key, set()).add(template)
        if names:
            self._names[template] = names
        return {*before, *names}
