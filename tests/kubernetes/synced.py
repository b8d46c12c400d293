"""Clusters that a controller keeps the same: `home`, and the shards `eu` and `us`, each with an API server of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from infra.services.kubernetes.beside import ClusterBeside
from nexus.kubernetes.objects import KubernetesObjects
from nexus.ports import Objects
from streams.controller.controller import COMPARE_EVERY, Controller
from tests.contract.clusters import until
from tests.support.kube import RESOURCES, Namespace, install_kinds, namespace

__all__ = ["CORE", "SPEC", "TEMPLATE", "WORKGROUP", "Clusters", "at", "clusters", "get", "naming", "put"]

TEMPLATE, WORKGROUP = "NexusAlgorithmTemplate", "NexusAlgorithmWorkgroup"
CORE = "/api/v1/namespaces/{}"
PREFIX = "science.sneaksanddata.com"
INSTALLATION = "tests"
SPEC = {
    "container": {"image": "i", "registry": "r", "versionTag": "v1"},
    "command": "python main.py",
    "workgroupRef": {"name": "wg", "group": f"{PREFIX}/v1", "kind": WORKGROUP},
}


def naming(*secrets: str, maps: Sequence[str] = (), **environment: object) -> dict[str, Any]:
    """The spec of a template that names these in `envFrom`."""
    mapped = [{"secretRef": {"name": name}} for name in secrets]
    mapped += [{"configMapRef": {"name": name}} for name in maps]
    return SPEC | {"runtimeEnvironment": {"mappedEnvironmentVariables": mapped, **environment}}


class Clusters:
    """`opens` are how a controller reaches the shards, which a test may disturb."""

    def __init__(self, home: Namespace, shards: Mapping[str, Namespace]) -> None:
        self.home = home
        self.shards = shards
        self.later = timedelta(0)
        """How much later it is for a controller."""
        self.opens: dict[str, Callable[[], Awaitable[Objects]]] = {
            name: partial(_opened, KubernetesObjects(name, there.connection, there.name))
            for name, there in shards.items()
        }
        self.home_objects: Objects = KubernetesObjects("of the custom resources", home.connection, home.name)

    def controller(
        self, *, compare_every: timedelta = COMPARE_EVERY, removed: Sequence[str] = ()
    ) -> Controller:
        return Controller(
            self.home_objects,
            self.opens,
            INSTALLATION,
            removed=removed,
            clock=lambda: datetime.now(UTC) + self.later,
            monotonic=lambda: asyncio.get_running_loop().time() + self.later.total_seconds(),
            chance=random.random,
            compare_every=compare_every,
        )

    @asynccontextmanager
    async def controlled(
        self, *, compare_every: timedelta = COMPARE_EVERY, removed: Sequence[str] = ()
    ) -> AsyncIterator[None]:
        controller = self.controller(compare_every=compare_every, removed=removed)
        running = asyncio.create_task(controller.run())
        try:
            yield
            if running.done():
                await running
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def until(self, condition: Callable[[], Awaitable[Any]]) -> Any:
        return await until(condition)

    async def put(self, kind: str, name: str, body: Mapping[str, Any], **metadata: object) -> Any:
        """Into the home cluster, new or changed. `body` is what stands beside the metadata."""
        return await put(self.home, kind, name, body, **metadata)

    async def template(self, name: str, spec: Mapping[str, Any] = SPEC, **metadata: object) -> Any:
        return await self.put(TEMPLATE, name, {"spec": spec}, **metadata)

    async def delete(self, kind: str, name: str) -> None:
        await self.home.call("DELETE", at(kind, name))

    async def ready(self, kind: str, name: str) -> dict[str, Any]:
        """Its conditions by type, once it is ready in the generation that it has now."""

        async def look() -> dict[str, Any] | None:
            found = await self.conditions(kind, name)
            generation = (await self.home.call("GET", at(kind, name)))["metadata"]["generation"]
            ready = found.get("Ready", {})
            is_ready = ready.get("status") == "True" and ready["observedGeneration"] == generation
            return found if is_ready else None

        return await until(look)

    async def told(self, kind: str, name: str, condition: str, reason: str) -> dict[str, Any]:
        """A condition, once it has this reason."""

        async def look() -> dict[str, Any] | None:
            found = (await self.conditions(kind, name)).get(condition, {})
            return found if found.get("reason") == reason else None

        return await until(look)

    async def unheard(self, name: str, shard: str) -> dict[str, Any]:
        """The condition of a template for a shard that is away, once so much time has passed that it is worth a word."""

        async def look() -> dict[str, Any] | None:
            self.later += timedelta(seconds=1)
            found = (await self.conditions(TEMPLATE, name)).get(f"SyncedTo-{shard}", {})
            return found if found.get("reason") == "ClusterUnreachable" else None

        return await until(look)

    async def conditions(self, kind: str, name: str) -> dict[str, Any]:
        found = await self.home.call("GET", at(kind, name))
        return {each["type"]: each for each in (found or {}).get("status", {}).get("conditions", [])}

    async def events(self, name: str) -> list[tuple[str, str, str]]:
        """Type, reason and message of those about an object."""
        query = f"{CORE}/events?fieldSelector=involvedObject.name={name}"
        items = (await self.home.call("GET", query))["items"]
        assert {each["source"]["component"] for each in items} <= {"nexus-configuration-controller"}
        return [(each["type"], each["reason"], each["message"]) for each in items]

    async def gone(self, kind: str, name: str, *shards: str) -> None:
        """Returns when none of these shards has it, or none at all."""
        for there in [self.shards[shard] for shard in shards] or self.shards.values():

            async def absent(there: Namespace = there) -> bool:
                return await get(there, kind, name) is None

            await until(absent)


def at(kind: str, name: str = "") -> str:
    root = RESOURCES if kind.startswith("Nexus") else CORE
    return f"{root}/{kind.lower()}s" + (f"/{name}" if name else "")


async def get(there: Namespace, kind: str, name: str) -> Any:
    return await there.call("GET", at(kind, name))


async def put(there: Namespace, kind: str, name: str, body: Mapping[str, Any], **metadata: object) -> Any:
    api = f"{PREFIX}/v1" if kind.startswith("Nexus") else "v1"
    whole = {"apiVersion": api, "kind": kind, "metadata": {"name": name, **metadata}, **body}
    return await there.call(
        "PATCH", f"{at(kind, name)}?fieldManager=user&force=true", whole, "apply-patch+yaml"
    )


async def _opened(objects: Objects) -> Objects:
    return objects


@asynccontextmanager
async def clusters(servers: Sequence[ClusterBeside], name: str) -> AsyncIterator[Clusters]:
    async with AsyncExitStack() as stack:
        spaces = []
        for server in servers:
            there = await stack.enter_async_context(namespace(server.kubeconfig, name=name, pods=False))
            await install_kinds(there)
            spaces.append(there)
        home, *shards = spaces
        yield Clusters(home, dict(zip(("eu", "us"), shards, strict=True)))
