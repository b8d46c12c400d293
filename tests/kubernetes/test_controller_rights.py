"""The least that a controller's service accounts need, in the cluster of the custom resources and in each shard."""

from __future__ import annotations

import copy
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.services.kubernetes.beside import ClusterBeside
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.credentials import from_kubeconfig
from nexus.kubernetes.objects import KubernetesObjects
from nexus.ports import Objects
from tests.kubernetes.synced import CORE, TEMPLATE, Clusters, clusters, get, naming
from tests.support.kube import Namespace

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "science.sneaksanddata.com"
KINDS = ["nexusalgorithmtemplates", "nexusalgorithmworkgroups"]


def rule(group: str, resources: Sequence[str], *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


HOME = [
    rule(GROUP, KINDS, "list", "watch", "patch"),
    rule(GROUP, [f"{kind}/status" for kind in KINDS], "patch"),
    rule("", ["secrets", "configmaps"], "list", "watch"),
    rule("", ["events"], "create"),
]
SHARD = [
    rule(GROUP, KINDS, "list", "watch", "create", "patch", "delete"),
    rule("", ["secrets", "configmaps"], "list", "watch", "create", "patch", "delete"),
]
IDENTITY = [rule("", ["namespaces"], "get") | {"resourceNames": ["kube-system"]}]


@pytest.fixture
async def synced(shard_servers: tuple[ClusterBeside, ...], tmp_path: Path) -> AsyncIterator[Clusters]:
    """With a controller that may do no more than this; the user may do everything."""
    async with clusters(shard_servers, f"test-{uuid.uuid4().hex[:12]}") as there, AsyncExitStack() as stack:
        spaces = [there.home, *there.shards.values()]
        objects: list[Objects] = []
        for space, server, rules in zip(spaces, shard_servers, (HOME, SHARD, SHARD), strict=True):
            kubeconfig = await _account(space, server, rules, tmp_path)
            connection = Connection(f"cluster {len(objects)}", from_kubeconfig(kubeconfig))
            await connection.open()
            stack.push_async_callback(connection.close)
            objects.append(KubernetesObjects(connection.name, connection, space.name))

        def opens(number: int) -> Any:
            async def opened() -> Objects:
                return objects[number]

            return opened

        there.home_objects = objects[0]
        there.opens = {name: opens(number) for number, name in enumerate(there.shards, 1)}
        yield there


async def _account(
    space: Namespace, server: ClusterBeside, rules: list[dict[str, Any]], folder: Path
) -> Path:
    """A kubeconfig with a token of it."""
    name = {"metadata": {"name": "controller"}}
    await space.call("POST", f"{CORE}/serviceaccounts", name)
    await space.call("POST", f"{RBAC}/namespaces/{{}}/roles", name | {"rules": rules})
    subject = {"kind": "ServiceAccount", "name": "controller", "namespace": space.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "controller"}
    await space.call(
        "POST", f"{RBAC}/namespaces/{{}}/rolebindings", name | {"roleRef": role, "subjects": [subject]}
    )
    wide = {"metadata": {"name": space.name}}
    await space.call("POST", f"{RBAC}/clusterroles", wide | {"rules": IDENTITY})
    role = role | {"kind": "ClusterRole", "name": space.name}
    await space.call("POST", f"{RBAC}/clusterrolebindings", wide | {"roleRef": role, "subjects": [subject]})
    asked = await space.call("POST", f"{CORE}/serviceaccounts/controller/token", {"spec": {}})
    config = copy.deepcopy(yaml.safe_load(server.kubeconfig.read_text()))
    config["users"][0]["user"] = {"token": asked["status"]["token"]}
    file = folder / f"{server.ports['apiserver']}.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


async def test_these_rights_are_enough(synced: Clusters) -> None:
    await synced.put("Secret", "s", {"data": {"a": "YQ=="}})
    await synced.template("alg", naming("s"))
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
        await synced.template("alg", naming() | {"command": "other"})
        await synced.gone("Secret", "s")
        await synced.ready(TEMPLATE, "alg")
        assert await synced.events("alg")
        await synced.delete(TEMPLATE, "alg")
        await synced.gone(TEMPLATE, "alg")

        async def let_go() -> bool:
            return await get(synced.home, TEMPLATE, "alg") is None

        await synced.until(let_go)


async def test_a_right_that_is_missing_in_a_shard_is_said_so(synced: Clusters) -> None:
    us = synced.shards["us"]
    rules = [rule(GROUP, KINDS, "list", "watch"), *SHARD[1:]]
    await us.merge(f"{RBAC}/namespaces/{{}}/roles/controller", {"rules": rules})
    await synced.template("alg")
    async with synced.controlled():
        told = await synced.told(TEMPLATE, "alg", "SyncedTo-us", "ErrResourceSyncError")
        assert "cannot patch resource" in told["message"]
        await synced.told(TEMPLATE, "alg", "SyncedTo-eu", "Synced")
        await us.merge(f"{RBAC}/namespaces/{{}}/roles/controller", {"rules": SHARD})
        await synced.ready(TEMPLATE, "alg")
