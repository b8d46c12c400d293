"""A watch goes on where it left off, or ends so that its watcher lists again: nothing is ever missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from infra.services import Kubernetes
from infra.services.server import free_ports
from nexus.domain.errors import Unavailable
from nexus.domain.observed import JobView, PodView
from nexus.kubernetes import api, watch
from nexus.kubernetes.cluster import KubernetesCluster
from nexus.kubernetes.stream import Stream
from nexus.ports import Change, Listed
from tests.contract.clusters import Manifest, manifest, until
from tests.kubernetes.conftest import Disturbed
from tests.support.kube import Namespace, namespace, played

Watch = AsyncGenerator[Listed | Change]


def hanging() -> Manifest:
    return played(manifest({}), "hang")


async def begun(changes: Watch) -> Listed:
    listed = await anext(changes)
    assert isinstance(listed, Listed)
    return listed


async def see(changes: Watch, *names: str) -> None:
    """Read until each of these Jobs was added, and a pod of each: then both streams are open."""
    jobs, pods = set(names), set(names)
    async with asyncio.timeout(30):
        while jobs or pods:
            change = await anext(changes)
            assert isinstance(change, Change)
            if change.kind != "ADDED":
                continue
            if isinstance(change.object, JobView):
                jobs.remove(change.object.metadata.name)
            else:
                pods.discard(change.object.metadata.labels["batch.kubernetes.io/job-name"])


async def placed(cluster: KubernetesCluster, *jobs: Manifest) -> list[str]:
    await asyncio.gather(*(cluster.create(job) for job in jobs))
    return [job["metadata"]["name"] for job in jobs]


async def test_it_goes_on_over_lost_connections(there: Namespace, disturbed: Disturbed) -> None:
    cluster = KubernetesCluster("real", there.connection, there.name)
    changes = KubernetesCluster("real", disturbed.connection, there.name).watch()
    await begun(changes)
    for _ in range(3):
        await see(changes, *await placed(cluster, hanging(), hanging()))
        disturbed.relay.cut()
    await changes.aclose()


async def test_a_silent_connection_is_left(there: Namespace, disturbed: Disturbed) -> None:
    cluster = KubernetesCluster("real", there.connection, there.name)
    jobs, pods = f"/apis/batch/v1/namespaces/{there.name}/jobs", f"/api/v1/namespaces/{there.name}/pods"
    seen: set[str] = set()

    async def follow() -> None:
        while True:
            with suppress(Unavailable):
                async for change in watch.watch(disturbed.connection, jobs, pods, silence=0.5):
                    things = [*change.jobs] if isinstance(change, Listed) else [change.object]
                    seen.update(thing.metadata.name for thing in things)

    following = asyncio.create_task(follow())
    (first,) = await placed(cluster, hanging())
    await until(is_in(first, seen))
    disturbed.relay.silent = True
    taken = disturbed.relay.taken
    (second,) = await placed(cluster, hanging())

    async def opened_anew() -> bool:
        return disturbed.relay.taken > taken

    await until(opened_anew)
    disturbed.relay.cut()  # what was held back is lost with its connections
    disturbed.relay.silent = False
    await until(is_in(second, seen))
    following.cancel()


def is_in(name: str, seen: set[str]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return name in seen

    return look


async def test_an_api_server_that_went_away_is_said(there: Namespace, disturbed: Disturbed) -> None:
    changes = KubernetesCluster("real", disturbed.connection, there.name).watch()
    await begun(changes)
    await disturbed.relay.refuse()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(30):
            await anext(changes)


@pytest.mark.parametrize("version", ["1", str(2**62)])
async def test_it_ends_where_it_cannot_know_what_came_after(there: Namespace, version: str) -> None:
    """Before all that the API server remembers, and after all that it knows."""
    pods = f"/api/v1/namespaces/{there.name}/pods"
    stream = Stream(there.connection, pods, version, msgspec.json.Decoder(PodView))
    async with asyncio.timeout(60):
        assert [batch async for batch in stream.events(2)] == []


async def test_long_lists_come_in_pages(there: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = KubernetesCluster("real", there.connection, there.name)
    names = await placed(cluster, *(hanging() for _ in range(7)))
    monkeypatch.setattr(api, "_PAGE", 3)
    changes = cluster.watch()
    assert {job.metadata.name for job in (await begun(changes)).jobs} == set(names)
    await changes.aclose()


async def test_a_watch_that_is_closed_leaves_nothing_behind(there: Namespace) -> None:
    before = asyncio.all_tasks()
    changes = KubernetesCluster("real", there.connection, there.name).watch()
    await begun(changes)
    assert len(asyncio.all_tasks() - before) == 2
    await changes.aclose()
    assert asyncio.all_tasks() == before


class Own(NamedTuple):
    """A server of this test alone, without controllers: nothing happens in it by itself."""

    server: Kubernetes
    there: Namespace


@pytest.fixture
async def own(kubernetes_server: Path, tmp_path: Path) -> AsyncIterator[Own]:
    server = Kubernetes(tmp_path / "kubernetes", free_ports(Kubernetes.usual_ports))
    await asyncio.to_thread(server.start, "etcd", "apiserver")
    try:
        async with namespace(server.kubeconfig, pods=False) as there:
            yield Own(server, there)
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_restarted_api_server_has_forgotten_what_was_before(own: Own) -> None:
    """The watcher learns from the new list what went in the gap."""
    cluster = KubernetesCluster("own", own.there.connection, own.there.name)
    went, stays = [view.job for view in [await cluster.create(hanging()) for _ in range(2)]]
    collection = f"/apis/batch/v1/namespaces/{own.there.name}/jobs"
    old = Stream(
        own.there.connection, collection, stays.metadata.resource_version, msgspec.json.Decoder(JobView)
    )
    await cluster.delete(went.metadata.name, went.metadata.uid, "Background")
    # Work of others, so that the version is older than all that the new process reads when it starts.
    await asyncio.gather(*(cluster.create(hanging()) for _ in range(20)))
    await asyncio.to_thread(own.server.kill, "apiserver")
    with pytest.raises(Unavailable):
        await cluster.get(stays.metadata.name)
    await asyncio.to_thread(own.server.start, "apiserver")
    async with asyncio.timeout(60):
        assert [batch async for batch in old.events(30)] == []
    assert len((await begun(cluster.watch())).jobs) == 21
