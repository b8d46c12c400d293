"""A namespace of its own on the real API server, and Jobs whose pods kwok plays (infra/services/kubernetes/kwok.yaml)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml

from nexus.kubernetes.connection import Answer, Connection, Method
from nexus.kubernetes.credentials import from_kubeconfig

__all__ = ["RESOURCES", "SIM", "Namespace", "install_kinds", "namespace", "played"]

RESOURCES = "/apis/science.sneaksanddata.com/v1/namespaces/{}"
_CRDS = Path("infra/crds")
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SIM = "sim.nexus.test"


class Namespace:
    """`call` is a request to the API server with plain data; paths may name the namespace as `{}`."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = name

    async def call(self, method: Method, path: str, body: object = None, kind: str = "json") -> Any:
        encoded = None if body is None else msgspec.json.encode(body)
        answer: Answer = await self.connection.request(
            method, path.format(self.name), encoded, content_type=f"application/{kind}"
        )
        assert answer.status < 300 or answer.status == 404, (answer.status, answer.body)
        return msgspec.json.decode(answer.body) if answer.status < 300 else None

    async def merge(self, path: str, change: object) -> Any:
        return await self.call("PATCH", path, change, "merge-patch+json")


@asynccontextmanager
async def namespace(kubeconfig: Path, *, name: str = "", pods: bool = True) -> AsyncIterator[Namespace]:
    """Ready for pods, unless there are no controllers that make any; deleted with all that is in it."""
    connection = Connection("real", from_kubeconfig(kubeconfig))
    await connection.open()
    there = Namespace(connection, name or f"test-{uuid.uuid4().hex[:12]}")
    try:
        await there.call("POST", "/api/v1/namespaces", {"metadata": {"name": there.name}})
        async with asyncio.timeout(20):
            while pods and await there.call("GET", "/api/v1/namespaces/{}/serviceaccounts/default") is None:
                await asyncio.sleep(0.02)
        yield there
    finally:
        await there.call("DELETE", "/api/v1/namespaces/{}")
        await connection.close()


async def install_kinds(there: Namespace) -> None:
    """Our custom resources are served when it returns."""
    for file in sorted(_CRDS.glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        if await there.call("GET", f"{_DEFINITIONS}/{crd['metadata']['name']}") is None:
            await there.call("POST", _DEFINITIONS, crd)
        served = f"{RESOURCES}/{crd['spec']['names']['plural']}".format(there.name)
        async with asyncio.timeout(30):
            while (await there.connection.request("GET", served)).status != 200:
                await asyncio.sleep(0.05)


def played(manifest: dict[str, Any], outcome: str = "", **annotations: object) -> dict[str, Any]:
    """The Job with pods that end so: `fail`, `oom`, `evict`, `image-pull`, `config-error`, `hang`, or well.

    Annotations are those of kwok's stages, such as `run_for="2s"` or `exit_code=3`.
    """
    metadata = manifest["spec"]["template"].setdefault("metadata", {})
    if outcome:
        metadata["labels"] = metadata.get("labels", {}) | {f"{SIM}/outcome": outcome}
    given = {f"{SIM}/{name.replace('_', '-')}": str(value) for name, value in annotations.items()}
    metadata["annotations"] = metadata.get("annotations", {}) | given
    return manifest
