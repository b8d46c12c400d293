"""What a controller writes to real shards: contract §9.2 line by line, and each fault of the original."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from infra.services.kubernetes.beside import ClusterBeside
from tests.kubernetes.synced import TEMPLATE, WORKGROUP, Clusters, at, clusters, get, naming, put

LABELS = {
    "science.sneaksanddata.com/controller-app": "nexus-configuration-controller",
    "science.sneaksanddata.com/configuration-owner": "tests",
}
WG = {"spec": {"description": "d", "cluster": "eu"}}


@pytest.fixture
async def synced(shard_servers: tuple[ClusterBeside, ...]) -> AsyncIterator[Clusters]:
    async with clusters(shard_servers, f"test-{uuid.uuid4().hex[:12]}") as there:
        yield there


async def test_templates_workgroups_and_what_they_name_go_to_all_shards(synced: Clusters) -> None:
    tls = {"type": "kubernetes.io/basic-auth", "data": {"username": "YQ==", "password": "Yg=="}}
    await synced.put("Secret", "password", tls, annotations={"team": "a"})
    settings = {"data": {"b": "c"}, "binaryData": {"x": "AAA="}, "immutable": True}
    await synced.put("ConfigMap", "settings", settings)
    await synced.put("Secret", "mounted", {"data": {"a": "YQ=="}})
    mounts = {"mounted": {"name": "v", "mountPath": "/v"}}
    template = await synced.template("alg", naming("password", maps=["settings"], secretFileMounts=mounts))
    await synced.put(WORKGROUP, "wg", WG)
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
        await synced.ready(WORKGROUP, "wg")
        for there in synced.shards.values():
            copy = await get(there, TEMPLATE, "alg")
            assert copy["spec"] == template["spec"]
            assert copy["metadata"]["labels"] == LABELS
            assert {each["manager"] for each in copy["metadata"]["managedFields"]} == {
                "nexus-configuration-controller"
            }
            assert (await get(there, WORKGROUP, "wg"))["spec"] == WG["spec"]
            secret = await get(there, "Secret", "password")
            assert {key: secret[key] for key in tls} == tls
            assert secret["metadata"]["labels"] == LABELS
            assert secret["metadata"]["annotations"] == {"team": "a"}
            config = await get(there, "ConfigMap", "settings")
            assert {key: config[key] for key in settings} == settings
            for owned in (secret, config, await get(there, "Secret", "mounted")):
                (owner,) = owned["metadata"]["ownerReferences"]
                assert (owner["kind"], owner["uid"]) == (TEMPLATE, copy["metadata"]["uid"])
        status = (await get(synced.home, TEMPLATE, "alg"))["status"]
        assert status["syncedSecrets"] == ["mounted", "password"]
        assert status["syncedConfigurations"] == ["settings"]
        assert status["syncedToClusters"] == ["eu", "us"]
        assert await synced.events("alg") == [
            ("Normal", "Synced", f"Resource of type {TEMPLATE} synced successfully")
        ]
        assert await synced.events("wg") == [
            ("Normal", "Synced", f"Resource of type {WORKGROUP} synced successfully")
        ]
        ready = (await synced.conditions(WORKGROUP, "wg"))["Ready"]
        assert (ready["reason"], ready["message"]) == ("AlgorithmReady", 'Workgroup "wg" ready')


async def test_changes_follow_and_what_is_unchanged_is_not_written(synced: Clusters) -> None:
    await synced.put("Secret", "s", {"data": {"a": "YQ==", "gone": "YQ=="}})
    await synced.template("alg", naming("s"))
    await synced.template("other")
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
        await synced.ready(TEMPLATE, "other")
        before = await get(synced.shards["eu"], TEMPLATE, "other")
        await synced.put("Secret", "s", {"data": {"a": "Yg=="}})
        await synced.template("alg", naming("s") | {"command": "other"})
        await synced.ready(TEMPLATE, "alg")
        for there in synced.shards.values():
            assert (await get(there, TEMPLATE, "alg"))["spec"]["command"] == "other"

            async def changed(there=there) -> bool:
                return (await get(there, "Secret", "s"))["data"] == {"a": "Yg=="}

            await synced.until(changed)
    async with synced.controlled():  # another one, that knows nothing
        await synced.template("last")
        await synced.ready(TEMPLATE, "last")
        assert await get(synced.shards["eu"], TEMPLATE, "other") == before


async def test_deletions_of_both_kinds_go_to_all_shards(synced: Clusters) -> None:
    await synced.put("Secret", "s", {"data": {"a": "YQ=="}})
    await synced.template("alg", naming("s"))
    await synced.put(WORKGROUP, "wg", WG)
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
        await synced.ready(WORKGROUP, "wg")
        await synced.delete(TEMPLATE, "alg")
        await synced.delete(WORKGROUP, "wg")
        for kind, name in ((TEMPLATE, "alg"), (WORKGROUP, "wg"), ("Secret", "s")):
            await synced.gone(kind, name)

        async def let_go() -> bool:
            return not await get(synced.home, TEMPLATE, "alg") and not await get(synced.home, WORKGROUP, "wg")

        await synced.until(let_go)
        assert await get(synced.home, "Secret", "s")  # it is its user's


async def test_a_deletion_that_was_made_while_nobody_looked_is_made_up_for(synced: Clusters) -> None:
    await synced.template("alg")
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
    await synced.delete(TEMPLATE, "alg")
    assert (await get(synced.home, TEMPLATE, "alg"))["metadata"]["deletionTimestamp"]
    async with synced.controlled():
        await synced.gone(TEMPLATE, "alg")


async def test_what_is_no_longer_named_is_removed_there(synced: Clusters) -> None:
    await synced.put("Secret", "s", {"data": {"a": "YQ=="}})
    await synced.put("ConfigMap", "c", {"data": {"a": "b"}})
    await synced.template("alg", naming("s", maps=["c"]))
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
        await synced.template("alg", naming("s"))
        await synced.gone("ConfigMap", "c")
        assert (await synced.ready(TEMPLATE, "alg"))["Ready"]
        assert (await get(synced.home, TEMPLATE, "alg"))["status"]["syncedConfigurations"] == []
        for there in synced.shards.values():
            assert await get(there, "Secret", "s")


async def test_what_others_made_is_left_alone_and_said_so(synced: Clusters) -> None:
    theirs = await put(synced.shards["us"], "Secret", "s", {"data": {"theirs": "YQ=="}})
    await synced.put("Secret", "s", {"data": {"ours": "YQ=="}})
    await synced.template("alg", naming("s"))
    text = 'Resource "s" already exists and is not managed by any Machine Learning Algorithm'
    async with synced.controlled():
        told = await synced.told(TEMPLATE, "alg", "SyncedTo-us", "ErrResourceExists")
        assert (told["status"], told["message"]) == ("False", text)
        await synced.told(TEMPLATE, "alg", "SyncedTo-eu", "Synced")  # the other shard is not held up
        ready = await synced.told(TEMPLATE, "alg", "Ready", "ErrResourceExists")
        assert (ready["status"], ready["message"]) == ("False", f"us: {text}")
        assert ("Warning", "ErrResourceExists", text) in await synced.events("alg")
        assert await get(synced.shards["us"], "Secret", "s") == theirs
        await synced.delete(TEMPLATE, "alg")
        await synced.gone(TEMPLATE, "alg")
        assert await get(synced.shards["us"], "Secret", "s") == theirs


async def test_what_others_made_is_adopted_where_an_annotation_says_so(synced: Clusters) -> None:
    await put(synced.shards["us"], "Secret", "s", {"data": {"theirs": "YQ=="}})
    await synced.put("Secret", "s", {"data": {"ours": "YQ=="}})
    await synced.template("alg", naming("s"))
    async with synced.controlled():
        await synced.told(TEMPLATE, "alg", "Ready", "ErrResourceExists")
        adopt = {"science.sneaksanddata.com/adopt": "true"}
        await synced.put("Secret", "s", {"data": {"ours": "YQ=="}}, annotations=adopt)
        await synced.ready(TEMPLATE, "alg")
        adopted = await get(synced.shards["us"], "Secret", "s")
        assert adopted["data"] == {"ours": "YQ=="}
        assert adopted["metadata"]["labels"] == LABELS


async def test_a_clash_ends_when_the_other_one_goes(synced: Clusters) -> None:
    await put(synced.shards["us"], TEMPLATE, "alg", {"spec": naming()})
    await synced.template("alg")
    async with synced.controlled():
        await synced.told(TEMPLATE, "alg", "Ready", "ErrResourceExists")
        await synced.shards["us"].call("DELETE", at(TEMPLATE, "alg"))
        await synced.ready(TEMPLATE, "alg")


async def test_what_is_missing_here_is_said_so_until_it_is_there(synced: Clusters) -> None:
    await synced.template("alg", naming("s"))
    optional = [{"secretRef": {"name": "s", "optional": True}}]
    await synced.template("easy", naming() | {"runtimeEnvironment": {"mappedEnvironmentVariables": optional}})
    text = f'Resource "s" referenced by {TEMPLATE} "alg" is missing in the controller cluster'
    async with synced.controlled():
        ready = await synced.told(TEMPLATE, "alg", "Ready", "ErrResourceMissing")
        assert (ready["status"], ready["message"]) == ("False", text)
        assert ("Warning", "ErrResourceMissing", text) in await synced.events("alg")
        await synced.ready(TEMPLATE, "easy")
        await synced.put("Secret", "s", {"data": {"a": "YQ=="}})
        await synced.ready(TEMPLATE, "alg")
        assert await get(synced.shards["us"], "Secret", "s")


async def test_what_cannot_be_changed_is_made_anew(synced: Clusters) -> None:
    await synced.put("Secret", "s", {"data": {"a": "YQ=="}, "immutable": True})
    await synced.template("alg", naming("s"))
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
        before = (await get(synced.shards["eu"], "Secret", "s"))["metadata"]["uid"]
        await synced.home.call("DELETE", at("Secret", "s"))
        credentials = {"username": "YQ==", "password": "Yg=="}
        await synced.put("Secret", "s", {"type": "kubernetes.io/basic-auth", "data": credentials})

        async def replaced() -> bool:
            found = await get(synced.shards["eu"], "Secret", "s")
            return bool(found and found["data"] == credentials and found["metadata"].get("ownerReferences"))

        await synced.until(replaced)
        after = await get(synced.shards["eu"], "Secret", "s")
        assert after["type"] == "kubernetes.io/basic-auth"
        assert after["metadata"]["uid"] != before


async def test_labels_choose_the_shards(synced: Clusters) -> None:
    only = {"shards.science.sneaksanddata.com/eu": ""}
    await synced.put("Secret", "s", {"data": {"a": "YQ=="}})
    await synced.template("alg", naming("s"), labels=only)
    await synced.template("all")
    async with synced.controlled():
        conditions = await synced.ready(TEMPLATE, "alg")
        await synced.ready(TEMPLATE, "all")
        assert set(conditions) == {"Ready", "SyncedTo-eu"}
        assert await get(synced.shards["us"], TEMPLATE, "alg") is None
        assert await get(synced.shards["us"], "Secret", "s") is None
        other = {"shards.science.sneaksanddata.com/us": ""}
        await synced.template("alg", naming("s"), labels=other)
        await synced.gone(TEMPLATE, "alg", "eu")
        await synced.gone("Secret", "s", "eu")
        await synced.told(TEMPLATE, "alg", "SyncedTo-us", "Synced")
        assert (await get(synced.home, TEMPLATE, "alg"))["status"]["syncedToClusters"] == ["us"]


async def test_a_shard_that_is_chosen_no_more_is_not_spoken_of_once_all_is_gone_there(
    synced: Clusters,
) -> None:
    """Also of what the template named until then."""
    names = [f"s{number}" for number in range(8)]
    for name in names:
        await synced.put("Secret", name, {"data": {"a": "YQ=="}})
    await synced.template("alg", naming(*names))
    only = {"shards.science.sneaksanddata.com/us": ""}
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
        await synced.template("alg", naming(), labels=only)
        for name in names:
            await synced.gone("Secret", name)

        async def forgotten() -> bool:
            return set(await synced.ready(TEMPLATE, "alg")) == {"Ready", "SyncedTo-us"}

        await synced.until(forgotten)


async def test_drift_is_repaired_when_it_is_seen(synced: Clusters) -> None:
    await synced.put("Secret", "s", {"data": {"a": "YQ=="}})
    await synced.template("alg", naming("s"))
    await synced.put(WORKGROUP, "wg", WG)
    async with synced.controlled():
        await synced.ready(TEMPLATE, "alg")
        await synced.ready(WORKGROUP, "wg")
        eu = synced.shards["eu"]
        await eu.merge(at(WORKGROUP, "wg"), {"spec": {"cluster": "elsewhere"}})
        await eu.merge(at("Secret", "s"), {"data": {"a": "Yg==", "more": "Yg=="}})
        await eu.call("DELETE", at(TEMPLATE, "alg"))

        async def repaired() -> bool:
            template, secret = await get(eu, TEMPLATE, "alg"), await get(eu, "Secret", "s")
            if not template or not secret or secret["data"] != {"a": "YQ=="}:
                return False
            owners = [owner["uid"] for owner in secret["metadata"].get("ownerReferences", [])]
            workgroup = await get(eu, WORKGROUP, "wg")
            return owners == [template["metadata"]["uid"]] and workgroup["spec"] == WG["spec"]

        await synced.until(repaired)
