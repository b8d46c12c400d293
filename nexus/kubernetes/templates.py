"""Templates and workgroups from custom resources, followed as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nexus.domain.errors import InvalidInput
from nexus.domain.manifest import TEMPLATE, WORKGROUP, read_template, read_workgroup, usable
from nexus.domain.template import Template, Workgroup
from nexus.kubernetes.collection import Collection
from nexus.kubernetes.connection import Connection
from nexus.ports import Templates

__all__ = ["KubernetesTemplates"]


class KubernetesTemplates(Templates):
    """Those of one namespace. A broken object breaks what it names, not the rest. Who opened the connection closes it."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._templates = Collection(connection, namespace, TEMPLATE, read_template)
        self._workgroups = Collection(connection, namespace, WORKGROUP, read_workgroup)

    async def start(self) -> None:
        """Everything that is deployed is known when it returns. Raises Unavailable."""
        await self._templates.list()
        await self._workgroups.list()

    def names(self) -> list[str]:
        return sorted(name for name, found in self._templates.found.items() if isinstance(found, Template))

    def template(self, name: str) -> Template | None:
        return usable(self._templates.found.get(name))

    def workgroup(self, name: str) -> Workgroup | None:
        return usable(self._workgroups.found.get(name))

    def unreadable(self) -> Sequence[InvalidInput]:
        return ()  # an object has its name, whatever else it holds

    async def watch(self) -> None:
        """While the API server is away, what is known is served."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._templates.follow())
            group.create_task(self._workgroups.follow())
