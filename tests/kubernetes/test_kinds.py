"""Our custom resource definitions, over objects that were stored under the original's, which check no more than types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml

from infra.services.kubernetes.beside import ClusterBeside
from tests.contract.clusters import until
from tests.kubernetes.synced import SPEC, TEMPLATE, WORKGROUP, Clusters, at, get, put
from tests.support.kube import Namespace, install_kinds, namespace

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ODD = {
    "no-workgroup": {key: value for key, value in SPEC.items() if key != "workgroupRef"},
    "quantity": SPEC | {"computeResources": {"cpuLimit": "much", "memoryLimit": ""}},
    "deadline": SPEC | {"runtimeEnvironment": {"deadlineSeconds": -5, "maximumRetries": -1}},
    "command": SPEC | {"command": " "},
    "image": SPEC | {"container": {"image": "I!", "registry": "", "versionTag": ""}},
    "codes": SPEC | {"errorHandlingBehaviour": {"fatalExitCodes": [0, 999]}},
    "environment": SPEC
    | {
        "runtimeEnvironment": {
            "environmentVariables": [
                {"name": "A", "value": "v", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}
            ],
            "mappedEnvironmentVariables": [{"prefix": "P_"}],
            "annotations": {"not a key!": "v"},
        }
    },
}


@pytest.fixture
async def stored(shard_servers: tuple[ClusterBeside, ...], tmp_path: Path) -> AsyncIterator[Namespace]:
    """A cluster with objects of the original, and our definitions since."""
    server = ClusterBeside(shard_servers[0], tmp_path / "cluster")
    await asyncio.to_thread(server.start)
    try:
        async with namespace(server.kubeconfig, pods=False) as there:
            for file in sorted(Path("infra/crds").glob("*.yaml")):
                await there.call("POST", DEFINITIONS, _permissive(yaml.safe_load(file.read_text())))
            await install_kinds(there)
            for name, spec in ODD.items():
                await put(there, TEMPLATE, name, {"spec": spec})
            await put(
                there, WORKGROUP, "wg", {"spec": {"description": "", "cluster": "", "capabilities": {}}}
            )
            for file in sorted(Path("infra/crds").glob("*.yaml")):
                ours = yaml.safe_load(file.read_text())
                await there.call(
                    "PATCH",
                    f"{DEFINITIONS}/{ours['metadata']['name']}",
                    {"spec": ours["spec"]},
                    "merge-patch+json",
                )
            await _in_force(there)
            yield there
    finally:
        server.remove()


def _permissive(definition: dict[str, Any]) -> dict[str, Any]:
    (version,) = definition["spec"]["versions"]
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version["schema"]["openAPIV3Schema"] = {
        "type": "object",
        "properties": {"spec": anything, "status": anything},
    }
    version["additionalPrinterColumns"] = []
    return definition


async def _in_force(there: Namespace) -> None:
    """Returns when the definitions refuse what they must."""
    bad = {"apiVersion": "science.sneaksanddata.com/v1", "kind": TEMPLATE, "metadata": {"name": "bad"}}
    async with asyncio.timeout(30):
        while True:
            body = yaml.safe_dump(bad | {"spec": {"command": "c"}}).encode()
            answer = await there.connection.request(
                "POST", at(TEMPLATE).format(there.name), body, content_type="application/yaml"
            )
            if answer.status == 422:
                return
            await there.call("DELETE", at(TEMPLATE, "bad"))
            await asyncio.sleep(0.1)


async def test_what_the_original_stored_can_be_read_changed_and_synced(stored: Namespace) -> None:
    """The controller writes finalizers and status; a user changes what is not wrong."""
    synced = Clusters(stored, {})
    async with synced.controlled():
        for name, spec in ODD.items():
            assert (await get(stored, TEMPLATE, name))["spec"] == spec
            await synced.ready(TEMPLATE, name)
            changed = await stored.merge(at(TEMPLATE, name), {"spec": {"args": ["new"]}})
            assert changed["spec"] == spec | {"args": ["new"]}
        await synced.ready(WORKGROUP, "wg")


async def test_what_is_new_needs_a_workgroup(stored: Namespace) -> None:
    body = {"apiVersion": "science.sneaksanddata.com/v1", "kind": TEMPLATE, "metadata": {"name": "new"}}
    encoded = msgspec.json.encode(body | {"spec": ODD["no-workgroup"]})
    answer = await stored.connection.request("POST", at(TEMPLATE).format(stored.name), encoded)
    assert answer.status == 422
    assert b"needs a workgroupRef, which says where runs go" in answer.body


async def test_tables_show_what_is_asked_for(stored: Namespace) -> None:
    shown = ["Name", "Image", "Version", "Workgroup", "Clusters", "Ready", "Age"]
    assert await _columns(stored, TEMPLATE) == shown
    assert await _columns(stored, WORKGROUP) == ["Name", "Cluster", "Ready", "Age"]


async def _columns(there: Namespace, kind: str) -> list[str]:
    """What `kubectl get` shows."""
    access = await there.connection._load()
    url = access.host + at(kind).format(there.name)
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}

    async def table() -> Any:
        async with http.get(url, ssl=access.ssl) as answer:
            return await answer.json() if answer.status == 200 else None  # it may be starting anew

    async with aiohttp.ClientSession(headers=headers) as http:
        columns = (await until(table))["columnDefinitions"]
    return [each["name"] for each in columns if not each["priority"]]
