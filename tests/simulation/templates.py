"""The algorithms and workgroups of a simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nexus.domain.errors import InvalidInput
from nexus.domain.manifest import read_template, read_workgroup
from nexus.domain.template import Template, Workgroup
from nexus.ports import Templates

__all__ = ["ALGORITHMS", "DEADLINE", "FATAL", "TRANSIENT", "SimulatedTemplates"]

ALGORITHMS = ("one", "two", "three")
DEADLINE = 20
"""Seconds that a Job may take."""
FATAL, TRANSIENT = 42, 75


class SimulatedTemplates(Templates):
    """Each algorithm runs on one of the clusters, `three` may fail twice."""

    def __init__(self, clusters: Sequence[str]) -> None:
        self._templates = {
            name: read_template(name, _spec(clusters[nth % len(clusters)], nth))
            for nth, name in enumerate(ALGORITHMS)
        }
        self._workgroups = {
            name: read_workgroup(name, {"description": "simulated", "cluster": name}) for name in clusters
        }

    def names(self) -> list[str]:
        return sorted(self._templates)

    def template(self, name: str) -> Template | None:
        return self._templates.get(name)

    def workgroup(self, name: str) -> Workgroup | None:
        return self._workgroups.get(name)

    def unreadable(self) -> Sequence[InvalidInput]:
        return ()

    async def watch(self) -> None:
        await asyncio.get_running_loop().create_future()


def _spec(cluster: str, retries: int) -> object:
    return {
        "container": {"image": "simulated", "registry": "registry.test", "versionTag": "1"},
        "command": "run",
        "args": ["--sas-uri=%s", "--request-id=%s"],
        "computeResources": {"cpuLimit": "1", "memoryLimit": "1Mi"},
        "workgroupRef": {"name": cluster},
        "runtimeEnvironment": {"deadlineSeconds": DEADLINE, "maximumRetries": retries},
        "errorHandlingBehaviour": {"transientExitCodes": [TRANSIENT], "fatalExitCodes": [FATAL]},
    }
