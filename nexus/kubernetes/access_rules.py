"""Rules from custom resources, followed as they change."""

from __future__ import annotations

from collections.abc import Sequence

from nexus.domain.access import Rule, read_rule
from nexus.domain.errors import InvalidInput
from nexus.kubernetes.collection import Collection
from nexus.kubernetes.connection import Connection

__all__ = ["KubernetesRules"]

_KIND = "NexusAccessRule"


class KubernetesRules:
    """Those of one namespace, by name. A broken one allows nothing; while the API server is away, they stay in force."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._objects = Collection(connection, namespace, _KIND, read_rule)
        self._rules: Sequence[Rule] = ()
        self._read = 0

    async def start(self) -> None:
        """All rules are known when it returns. Raises Unavailable."""
        await self._objects.list()

    async def follow(self) -> None:
        """Until cancelled."""
        await self._objects.follow()

    def rules(self) -> Sequence[Rule]:
        """In the order of their names. The same object for as long as nothing has changed."""
        if self._read != self._objects.changes:
            found = [rule for _, rule in sorted(self._objects.found.items())]
            self._rules, self._read = (
                tuple(each for each in found if isinstance(each, Rule)),
                self._objects.changes,
            )
        return self._rules

    def problems(self) -> list[str]:
        """What is wrong with each that allows nothing for it."""
        return [str(each) for each in self._objects.found.values() if isinstance(each, InvalidInput)]
