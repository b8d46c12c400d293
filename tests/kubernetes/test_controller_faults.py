"""A controller and shards that are away, full of others' things, or no shards at all; and a controller that dies."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from yarl import URL

from infra.services.kubernetes.beside import ClusterBeside
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.credentials import from_kubeconfig
from nexus.kubernetes.objects import KubernetesObjects
from nexus.ports import Objects
from tests.kubernetes.synced import TEMPLATE, Clusters, at, clusters, get, naming
from tests.support.proxy import Proxy, proxied

SECOND = timedelta(seconds=1)
FINALIZER = "science.sneaksanddata.com/nexus-configuration-controller"
WG = {"spec": {"description": "d", "cluster": "eu"}}


@pytest.fixture
async def synced(shard_servers: tuple[ClusterBeside, ...]) -> AsyncIterator[Clusters]:
    async with clusters(shard_servers, f"test-{uuid.uuid4().hex[:12]}") as there:
        yield there


@asynccontextmanager
async def behind_proxy(synced: Clusters, server: ClusterBeside, folder: Path) -> AsyncIterator[Proxy]:
    """The controller reaches `us` through something that can be cut."""
    config = yaml.safe_load(server.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    async with proxied(f"127.0.0.1:{URL(cluster['server']).port}") as proxy:
        cluster["server"] = f"https://127.0.0.1:{proxy.port}"
        kubeconfig = folder / "us.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        connection = Connection("us", from_kubeconfig(kubeconfig))
        await connection.open()

        async def opens() -> Objects:
            return KubernetesObjects("us", connection, synced.home.name)

        synced.opens["us"] = opens
        yield proxy
        await connection.close()


@pytest.fixture
async def cut_off(
    synced: Clusters, shard_servers: tuple[ClusterBeside, ...], tmp_path: Path
) -> AsyncIterator[Proxy]:
    async with behind_proxy(synced, shard_servers[2], tmp_path) as proxy:
        yield proxy


async def test_a_shard_that_is_away_holds_up_no_other_and_is_brought_up_to_date(
    synced: Clusters, cut_off: Proxy
) -> None:
    await synced.put("Secret", "s", {"data": {"a": "YQ=="}})
    await synced.template("alg", naming("s"))
    await synced.template("old")
    async with synced.controlled(compare_every=SECOND):
        for name in ("alg", "old"):
            await synced.ready(TEMPLATE, name)
        await cut_off.cut()
        await synced.template("alg", naming())
        await synced.template("new")

        async def in_eu() -> Any:
            return await get(synced.shards["eu"], TEMPLATE, "new")

        await synced.until(in_eu)
        await synced.gone("Secret", "s", "eu")
        away = await synced.unheard("alg", "us")
        assert away["status"] == "Unknown"
        assert (await synced.told(TEMPLATE, "alg", "Ready", "ClusterUnreachable"))["status"] == "False"
        assert (await synced.told(TEMPLATE, "new", "SyncedTo-eu", "Synced"))["status"] == "True"
        await synced.delete(TEMPLATE, "old")
        await synced.gone(TEMPLATE, "old", "eu")
        assert (await get(synced.home, TEMPLATE, "old"))["metadata"]["finalizers"] == [FINALIZER]
        await cut_off.listen()
        await synced.ready(TEMPLATE, "alg")
        await synced.ready(TEMPLATE, "new")
        await synced.gone(TEMPLATE, "old")
        await synced.gone("Secret", "s")


async def test_a_deletion_gives_up_a_shard_after_an_hour_and_compares_it_when_it_is_back(
    synced: Clusters, cut_off: Proxy
) -> None:
    for name in ("a", "b", "c"):
        await synced.template(name)
    async with synced.controlled(compare_every=SECOND):
        for name in ("a", "b", "c"):
            await synced.ready(TEMPLATE, name)
        await cut_off.cut()
        await synced.unheard("a", "us")
        await synced.delete(TEMPLATE, "a")
        await synced.gone(TEMPLATE, "a", "eu")
        synced.later += timedelta(minutes=50)
        assert (await get(synced.home, TEMPLATE, "a"))["metadata"]["finalizers"] == [FINALIZER]
    synced.later += timedelta(minutes=12)
    async with synced.controlled(compare_every=SECOND):  # it is not this one's memory that counts

        async def let_go() -> bool:
            return await get(synced.home, TEMPLATE, "a") is None

        await synced.until(let_go)
        told = [event for event in await synced.events("a") if event[1] == "ClusterGivenUp"]
        text = f'Cluster "us" was unreachable for an hour: what it has of {TEMPLATE} "a" goes when it is back'
        assert told == [("Warning", "ClusterGivenUp", text)]
        assert await get(synced.shards["us"], TEMPLATE, "a")
        await cut_off.listen()
        await synced.gone(TEMPLATE, "a", "us")
        await synced.ready(TEMPLATE, "b")


async def test_nothing_is_deleted_for_an_empty_list_until_a_second_one(synced: Clusters) -> None:
    """Somebody takes the finalizers away and deletes: nothing is left here that speaks of the copies."""
    for name in ("a", "b", "c"):
        await synced.template(name)
    async with synced.controlled():
        for name in ("a", "b", "c"):
            await synced.ready(TEMPLATE, name)
    for name in ("a", "b", "c"):
        await synced.home.merge(at(TEMPLATE, name), {"metadata": {"finalizers": None}})
        await synced.delete(TEMPLATE, name)
    async with synced.controlled():
        await synced.template("d")
        await synced.ready(TEMPLATE, "d")
        assert await get(synced.shards["eu"], TEMPLATE, "a")
    async with synced.controlled(compare_every=SECOND):
        for name in ("a", "b", "c"):
            await synced.gone(TEMPLATE, name)
    assert await get(synced.shards["eu"], TEMPLATE, "d")


async def test_a_shard_that_disappears_from_the_configuration_loses_nothing(synced: Clusters) -> None:
    await synced.template("alg")
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
    us = synced.opens.pop("us")
    async with synced.controlled():
        away = await synced.told(TEMPLATE, "alg", "SyncedTo-us", "ClusterUnknown")
        assert away["status"] == "Unknown"
    assert await get(synced.shards["us"], TEMPLATE, "alg")
    async with synced.controlled(removed=["us"]):
        assert set(await synced.ready(TEMPLATE, "alg")) == {"Ready", "SyncedTo-eu"}
    synced.opens["us"] = us
    async with synced.controlled():

        async def both() -> bool:
            return set(await synced.ready(TEMPLATE, "alg")) == {"Ready", "SyncedTo-eu", "SyncedTo-us"}

        await synced.until(both)


async def test_a_cluster_that_is_seen_twice_is_refused(synced: Clusters) -> None:
    eu = synced.opens["eu"]

    async def itself() -> Objects:
        return synced.home_objects

    synced.opens |= {"home": itself, "twin": eu}
    await synced.template("alg")
    async with synced.controlled():
        itself_told = await synced.told(TEMPLATE, "alg", "SyncedTo-home", "ClusterSeenTwice")
        assert "this is the cluster of the custom resources as well" in itself_told["message"]
        await synced.told(TEMPLATE, "alg", "SyncedTo-us", "Synced")

        async def one_of_two() -> bool:
            found = await synced.conditions(TEMPLATE, "alg")
            reasons = {found.get(f"SyncedTo-{name}", {}).get("reason") for name in ("eu", "twin")}
            return reasons == {"ClusterSeenTwice", "Synced"}

        await synced.until(one_of_two)
        await synced.delete(TEMPLATE, "alg")  # what is refused is not waited for
        await synced.gone(TEMPLATE, "alg")

        async def let_go() -> bool:
            return await get(synced.home, TEMPLATE, "alg") is None

        await synced.until(let_go)


async def test_a_shard_without_the_kinds_says_so(
    synced: Clusters, shard_servers: tuple[ClusterBeside, ...], tmp_path: Path
) -> None:
    bare = ClusterBeside(shard_servers[0], tmp_path / "bare")
    await asyncio.to_thread(bare.start)
    try:
        connection = Connection("bare", from_kubeconfig(bare.kubeconfig))
        await connection.open()

        async def opens() -> Objects:
            return KubernetesObjects("bare", connection, synced.home.name)

        synced.opens["bare"] = opens
        await synced.template("alg")
        async with synced.controlled():
            told = await synced.told(TEMPLATE, "alg", "SyncedTo-bare", "ClusterLacksKinds")
            assert told["status"] == "False"
            assert "apply the custom resource definitions there" in told["message"]
            await synced.told(TEMPLATE, "alg", "SyncedTo-us", "Synced")
        await connection.close()
    finally:
        bare.remove()


async def test_a_kubeconfig_that_is_garbage_is_told_and_holds_up_no_other(
    synced: Clusters, tmp_path: Path
) -> None:
    (tmp_path / "bad.kubeconfig").write_text("garbage: [")

    async def opens() -> Objects:
        connection = Connection("bad", from_kubeconfig(tmp_path / "bad.kubeconfig"))
        await connection.open()
        return KubernetesObjects("bad", connection, synced.home.name)

    synced.opens["bad"] = opens
    await synced.template("alg")
    async with synced.controlled():
        told = await synced.told(TEMPLATE, "alg", "SyncedTo-bad", "ClusterUnreachable")
        assert str(tmp_path / "bad.kubeconfig") in told["message"]
        await synced.told(TEMPLATE, "alg", "SyncedTo-eu", "Synced")


async def test_a_shard_without_the_namespace_says_so(synced: Clusters) -> None:
    us = synced.shards["us"]

    async def opens() -> Objects:
        return KubernetesObjects("us", us.connection, "nowhere")

    synced.opens["us"] = opens
    await synced.template("alg")
    async with synced.controlled():
        told = await synced.told(TEMPLATE, "alg", "SyncedTo-us", "ErrResourceSyncError")
        assert 'namespaces "nowhere" not found' in told["message"]
        await synced.told(TEMPLATE, "alg", "SyncedTo-eu", "Synced")


async def test_what_a_shard_refuses_is_told_in_its_words_and_done_once_it_is_allowed(
    synced: Clusters,
) -> None:
    """A policy of the shard."""
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    name = synced.home.name
    rule = {
        "apiGroups": ["science.sneaksanddata.com"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["nexusalgorithmtemplates"],
    }
    namespaces = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": namespaces},
        "validations": [{"expression": "object.spec.command != 'evil'", "message": "no evil"}],
    }
    us = synced.shards["us"]
    await us.call("POST", f"{policies}ies", {"metadata": {"name": name}, "spec": policy})
    binding = {"policyName": name, "validationActions": ["Deny"]}
    await us.call("POST", f"{policies}ybindings", {"metadata": {"name": name}, "spec": binding})
    try:
        async with synced.controlled():
            await synced.template("good")
            number = 0

            async def refused() -> bool:
                nonlocal number
                number += 1  # a policy takes a moment until it is in force
                await synced.template(f"evil-{number}", naming() | {"command": "evil"})
                found = (await synced.conditions(TEMPLATE, f"evil-{max(1, number - 1)}")).get("Ready", {})
                return found.get("reason") == "ErrResourceSyncError"

            await synced.until(refused)
            bad = f"evil-{max(1, number - 1)}"
            told = await synced.told(TEMPLATE, bad, "SyncedTo-us", "ErrResourceSyncError")
            begin = f'Synchronization/update of a resource "{bad}" referenced by {TEMPLATE} "{bad}" failed with a fatal error '
            assert told["message"].startswith(begin)
            assert "no evil" in told["message"]
            await synced.told(TEMPLATE, bad, "SyncedTo-eu", "Synced")
            await synced.ready(TEMPLATE, "good")
            assert ("Warning", "ErrResourceSyncError", told["message"]) in await synced.events(bad)
            await us.call("DELETE", f"{policies}ybindings/{name}")
            await synced.ready(TEMPLATE, bad)
    finally:
        await us.call("DELETE", f"{policies}ybindings/{name}")
        await us.call("DELETE", f"{policies}ies/{name}")


class Died(Exception):
    """As kill -9: nobody hears the answer to the last write."""


class Mortal(Objects):
    """Dies with everything else once so many writes have been made."""

    def __init__(self, objects: Objects, lives: list[int]) -> None:
        self.name = objects.name
        self._objects = objects
        self._lives = lives
        self.identity = objects.identity  # type: ignore[method-assign]
        self.watch = objects.watch  # type: ignore[method-assign]
        self.record = objects.record  # type: ignore[method-assign]

    async def _write(self, write: Callable[..., Coroutine[Any, Any, Any]], *given: Any) -> Any:
        if not self._lives[0]:
            raise Died
        self._lives[0] -= 1
        result = await write(*given)
        if not self._lives[0]:
            raise Died
        return result

    async def apply(self, *given: Any) -> Any:
        return await self._write(self._objects.apply, *given)

    async def delete(self, *given: Any) -> Any:
        return await self._write(self._objects.delete, *given)

    async def set_finalizers(self, *given: Any) -> Any:
        return await self._write(self._objects.set_finalizers, *given)

    async def set_status(self, *given: Any) -> Any:
        return await self._write(self._objects.set_status, *given)


async def test_a_controller_may_die_after_any_write(synced: Clusters) -> None:
    """Templates that are made, changed and deleted, each time by a controller that dies one write later."""
    eu = synced.shards["eu"]

    async def made(name: str) -> None:
        await synced.put("Secret", name, {"data": {"a": "YQ=="}, "immutable": True})
        await synced.template(name, naming(name))

    async def changed(name: str) -> None:
        await synced.home.call("DELETE", at("Secret", name))
        await synced.put("Secret", name, {"data": {"a": "Yg=="}})
        await synced.template(name, naming(name) | {"command": "other"})

    async def deleted(name: str) -> None:
        await synced.delete(TEMPLATE, name)

    async def is_made(name: str) -> bool:
        await synced.ready(TEMPLATE, name)
        secret, template = await get(eu, "Secret", name), await get(eu, TEMPLATE, name)
        return [each["uid"] for each in secret["metadata"].get("ownerReferences", [])] == [
            template["metadata"]["uid"]
        ]

    async def is_changed(name: str) -> bool:
        secret, template = await get(eu, "Secret", name), await get(eu, TEMPLATE, name)
        return bool(
            secret
            and secret["data"] == {"a": "Yg=="}
            and template["spec"]["command"] == "other"
            and await is_made(name)
        )

    async def is_deleted(name: str) -> bool:
        await synced.gone(TEMPLATE, name)
        await synced.gone("Secret", name)
        return await get(synced.home, TEMPLATE, name) is None

    whole = synced.home_objects, dict(synced.opens)
    for change, outcome in ((made, is_made), (changed, is_changed), (deleted, is_deleted)):
        for lives in range(100):
            name = f"{change.__name__}-{lives}"
            if change is not made:
                await made(name)
                async with synced.controlled():
                    await synced.until(lambda name=name: is_made(name))
            await change(name)
            if not await _lived(synced, whole, lives, lambda name=name, outcome=outcome: outcome(name)):
                async with synced.controlled():
                    await synced.until(lambda name=name, outcome=outcome: outcome(name))
                continue
            assert lives > 3
            break


async def _lived(
    synced: Clusters,
    whole: tuple[Objects, dict[str, Callable[[], Any]]],
    lives: int,
    outcome: Callable[[], Coroutine[Any, Any, bool]],
) -> bool:
    """Whether a controller got to the end with so many writes."""
    home, opens = whole
    left = [lives]

    def mortal(objects: Objects) -> Callable[[], Any]:
        async def opened() -> Objects:
            return Mortal(objects, left)

        return opened

    synced.home_objects = Mortal(home, left)
    synced.opens = {name: mortal(await each()) for name, each in opens.items()}
    dying = asyncio.create_task(synced.controller().run())
    seeing = asyncio.create_task(synced.until(outcome))
    try:
        await asyncio.wait({dying, seeing}, return_when=asyncio.FIRST_COMPLETED)
        return not dying.done()
    finally:
        synced.home_objects, synced.opens = home, dict(opens)
        for task in (dying, seeing):
            task.cancel()
        await asyncio.gather(dying, seeing, return_exceptions=True)
