"""A controller and two shards, by upstream's quickstart.

Beside it a `single` one of another name, on the same broker, keyspace server and bucket, and in a namespace of one of
the shards.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from infra.services import Kubernetes
from infra.services.kubernetes.beside import ACCOUNTS, JOBS, ClusterBeside
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.credentials import from_kubeconfig
from tests.e2e.client import NexusClient
from tests.e2e.installation import Algorithms
from tests.helm.played import Installed, Playing, Servers, Site, algorithm, workgroup
from tests.support.helm import Helm
from tests.support.kube import Namespace, install_kinds

__all__ = ["Fleet", "algorithms_of", "further_shard", "installed_fleet"]

_OF_CONTROLLER = {
    "controller.shardsConfigSecretName": "nexus-controller-shards",
    "config.http.external_url": "https://nexus.example.com",
}
_SILENT = {f"{kind}-{cluster}" for kind in ("silent", "held") for cluster in ("eu", "us", "ap", "standalone")}
_SILENT.add("fresh")


def algorithms_of(cluster: str) -> str:
    """One that reports, one that ends without a report, and one that runs on."""
    return (
        workgroup(cluster, cluster)
        + algorithm(f"brief-{cluster}", cluster)
        + algorithm(f"silent-{cluster}", cluster, run_for="1s")
        + algorithm(f"held-{cluster}", cluster, run_for="600s")
    )


class Fleet(NamedTuple):
    """`home` is the site of the controller; `shards` are by cluster."""

    home: Site
    controller: Installed
    shards: Mapping[str, Installed]
    single: Installed
    api: NexusClient
    """Of `controller`."""
    single_api: NexusClient
    algorithms: Mapping[str, Algorithms]
    """Of each shard, and of `single`."""
    servers: Servers

    async def mount(self, shards: Mapping[str, Installed], **others: str) -> None:
        """Have kubeconfigs of these shards in the Secrets, and in the pods that they are mounted in; others as given."""
        await _make_kubeconfigs(self.home, shards, **others)
        await self.controller.mount()

    @property
    def audited(self) -> Mapping[str, ClusterBeside]:
        return {"home": self.home.server} | {name: each.site.server for name, each in self.shards.items()}


@asynccontextmanager
async def _site(server: Kubernetes, name: str, helm: Helm) -> AsyncIterator[Site]:
    connection = Connection("admin", from_kubeconfig(server.kubeconfig))
    await connection.open()
    there = Namespace(connection, name)
    await there.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    await install_kinds(there)
    for path in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
        await NexusClient.until(partial(there.call, "GET", f"/api/v1/namespaces/{{}}/{path}"))
    yield Site(server, there, helm)
    await connection.close()


@asynccontextmanager
async def _servers(etcd: Kubernetes, folder: Path) -> AsyncIterator[Sequence[ClusterBeside]]:
    """For the controller, where nothing runs but accounts, and for two shards."""
    kinds = {"home": ACCOUNTS, "eu": JOBS, "us": JOBS}
    servers = [ClusterBeside(etcd, folder / name, kind, audited=True) for name, kind in kinds.items()]
    try:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
        yield servers
    finally:
        for server in servers:
            server.remove()


async def _make_kubeconfigs(home: Site, shards: Mapping[str, Installed], **others: str) -> None:
    for account, secret in (("scheduler", "nexus-workers"), ("controller", "nexus-controller-shards")):
        kubeconfigs = {
            name: await one.site.kubeconfig_of(f"remote-{account}") for name, one in shards.items()
        }
        await home.make_secret(secret, kubeconfigs | others)


@asynccontextmanager
async def further_shard(
    fleet: Fleet, beside: Kubernetes, helm: Helm, folder: Path, name: str
) -> AsyncIterator[Installed]:
    """On another API server. What algorithms there report goes to any receiver, so that it has none of its own."""
    servers = fleet.servers
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(_site(beside, fleet.home.there.name, helm))
        for secret, entries in servers.secrets.items():
            await site.make_secret(secret, entries)
        own = {"config.cluster.name": name, "receiver.enabled": "false"}
        shard = servers.planned(site, helm, "shard", folder, **own)
        stack.push_async_callback(asyncio.to_thread, shard.release.remove)
        await _install(shard)
        stack.push_async_callback(shard.close)
        await shard.start()
        await shard.until_ready()
        yield shard


async def _install(*planned: Installed) -> None:
    """Hooks are played, and nothing waits for pods that nobody makes."""
    flags = ("install", "--no-hooks")
    await asyncio.gather(*(asyncio.to_thread(one.release.run, *flags) for one in planned))


@asynccontextmanager
async def installed_fleet(
    etcd: Kubernetes, helm: Helm, servers: Servers, folder: Path
) -> AsyncIterator[Fleet]:
    """All pods are ready, and algorithms report."""
    own, other = (f"t{uuid.uuid4().hex[:8]}" for _ in range(2))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        home_server, *shard_servers = await enter(_servers(etcd, folder))
        await servers.make_bucket()
        home = await enter(_site(home_server, own, helm))
        eu, us = [await enter(_site(server, own, helm)) for server in shard_servers]
        beside = await enter(_site(shard_servers[0], other, helm))
        for name in (own, other):
            stack.push_async_callback(servers.forget, name)
        for site in (home, eu, us, beside):
            for secret, entries in servers.secrets.items():
                await site.make_secret(secret, entries)
        shards = {
            name: servers.planned(site, helm, "shard", folder / name, **{"config.cluster.name": name})
            for name, site in (("eu", eu), ("us", us))
        }
        single = servers.planned(beside, helm, "single", folder / "single")
        await _install(*shards.values(), single)
        await _make_kubeconfigs(home, shards)
        controller = servers.planned(home, helm, "controller", folder / "controller", **_OF_CONTROLLER)
        await _install(controller)
        for site, clusters in ((home, list(shards)), (beside, ["standalone"])):
            given = "".join(map(algorithms_of, clusters))
            await asyncio.to_thread(site.kubectl, "apply", "-f", "-", given=given)
        everything = [controller, *shards.values(), single]
        for one in everything:
            stack.push_async_callback(one.close)
        await asyncio.gather(controller.run_hooks(), single.run_hooks())
        for one in everything:
            await one.start()
        for one in everything:
            await one.until_ready()
        algorithms = {
            name: Algorithms(Playing(one), _SILENT) for name, one in (shards | {"single": single}).items()
        }
        reporting = [asyncio.create_task(each.run()) for each in algorithms.values()]
        clients = [NexusClient(one.pods["api"].url) for one in (controller, single)]
        try:
            yield Fleet(home, controller, shards, single, *clients, algorithms, servers)
        finally:
            for task in reporting:
                task.cancel()
            await asyncio.gather(*reporting, return_exceptions=True)
            for client in clients:
                await client.http.aclose()
