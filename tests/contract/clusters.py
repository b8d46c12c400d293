"""The clusters that the contract is held to, and how each of them is made to run, fail or hang."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from nexus.domain.job import ALGORITHM, COMPONENT, COMPONENT_VALUE
from nexus.domain.observed import JobView, PodView
from nexus.embedded.cluster.local import LocalCluster
from nexus.kubernetes.cluster import KubernetesCluster
from nexus.ports import Cluster, Listed
from tests.support.kube import namespace, played

__all__ = [
    "Bed",
    "Manifest",
    "create",
    "ended",
    "failure",
    "first_list",
    "gone",
    "kubernetes_bed",
    "local_bed",
    "local_cluster",
    "manifest",
    "owned_by",
    "run",
    "running",
    "until",
]

Manifest = dict[str, Any]


class Bed(Protocol):
    """A cluster and the Jobs that it can be given. `owners` goes to the Job's metadata, the rest to its spec."""

    cluster: Cluster

    def succeeds(self, **spec: Any) -> Manifest: ...

    def fails(self, exit_code: int, **spec: Any) -> Manifest:
        """After a moment of running."""
        ...

    def hangs(self, **spec: Any) -> Manifest: ...

    def never_starts(self, **spec: Any) -> Manifest:
        """For want of a secret named `absent`."""
        ...


def manifest(container: Mapping[str, Any], *, name: str = "", **spec: Any) -> Manifest:
    """A Job of ours with one container, which is named after it."""
    labels = {ALGORITHM: "algorithm", COMPONENT: COMPONENT_VALUE, "team": "sea"}
    name = name or str(uuid.uuid4())
    main = {"name": name, "image": "example.test/algorithm:1", **container}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"note": "kept"},
            "ownerReferences": spec.pop("owners", []),
            "creationTimestamp": None,
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [main], "restartPolicy": "Never"},
            },
            **spec,
        },
    }


def owned_by(owner: JobView) -> list[dict[str, str]]:
    return [{"apiVersion": "batch/v1", "kind": "Job", "name": owner.metadata.name, "uid": owner.metadata.uid}]


class _Local:
    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster

    def succeeds(self, **spec: Any) -> Manifest:
        return manifest({"command": ["sleep", "0.05"]}, **spec)

    def fails(self, exit_code: int, **spec: Any) -> Manifest:
        return manifest({"command": ["sh", "-c", f"sleep 0.05; exit {exit_code}"]}, **spec)

    def hangs(self, **spec: Any) -> Manifest:
        return manifest({"command": ["sleep", "60"]}, **spec)

    def never_starts(self, **spec: Any) -> Manifest:
        wants = {"envFrom": [{"secretRef": {"name": "absent"}}]}
        return manifest({"command": ["true"], **wants}, **spec)


class _Played:
    def __init__(self, cluster: KubernetesCluster) -> None:
        self.cluster = cluster

    def succeeds(self, **spec: Any) -> Manifest:
        return played(manifest({}, **spec), run_for="100ms")

    def fails(self, exit_code: int, **spec: Any) -> Manifest:
        return played(manifest({}, **spec), "fail", run_for="100ms", exit_code=exit_code)

    def hangs(self, **spec: Any) -> Manifest:
        return played(manifest({}, **spec), "hang")

    def never_starts(self, **spec: Any) -> Manifest:
        return played(manifest({}, **spec), "config-error")


@asynccontextmanager
async def local_cluster(folder: Path) -> AsyncIterator[LocalCluster]:
    """Empty, with two slots, quick with back-off and impatient with commands that hang."""
    local = LocalCluster(
        folder / "cluster",
        slots=2,
        directory_of=lambda _: folder,
        environment={"FROM_CLUSTER": "cluster", "SAID_TWICE": "cluster"},
        retry_delay=0.02,
        grace=0.3,
    )
    await local.start()
    try:
        yield local
    finally:
        for job in (await first_list(local)).jobs:
            await local.delete(job.metadata.name, job.metadata.uid, "Background")
        await local.stop()


@asynccontextmanager
async def local_bed(folder: Path) -> AsyncIterator[Bed]:
    async with local_cluster(folder) as cluster:
        yield _Local(cluster)


@asynccontextmanager
async def kubernetes_bed(kubeconfig: Path) -> AsyncIterator[Bed]:
    async with namespace(kubeconfig) as there:
        yield _Played(KubernetesCluster("real", there.connection, there.name))


# What tests wait for


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    async with asyncio.timeout(seconds):
        while not (result := await condition()):
            await asyncio.sleep(0.02)
    return result


async def first_list(cluster: Cluster) -> Listed:
    watch = cluster.watch()
    listed = await anext(watch)
    await watch.aclose()
    assert isinstance(listed, Listed)
    return listed


async def create(cluster: Cluster, job: Manifest) -> JobView:
    created = await cluster.create(job)
    assert created.fresh
    return created.job


async def ended(cluster: Cluster, name: str) -> JobView:
    async def look() -> JobView | None:
        view = await cluster.get(name)
        assert view is not None
        return view if view.ended else None

    return await until(look)


async def run(cluster: Cluster, job: Manifest) -> tuple[JobView, Sequence[PodView]]:
    """The Job and its pods once it has ended."""
    created = await create(cluster, job)
    view = await ended(cluster, created.metadata.name)
    return view, await cluster.pods(created.metadata.name)


async def running(cluster: Cluster, name: str) -> PodView:
    async def look() -> PodView | None:
        return next((pod for pod in await cluster.pods(name) if pod.status.phase == "Running"), None)

    return await until(look)


async def gone(cluster: Cluster, name: str) -> bool:
    return await cluster.get(name) is None and not await cluster.pods(name)


def failure(view: JobView) -> tuple[str, str]:
    """Reason and message, once the conditions are known to be those of a failure."""
    assert [condition.type for condition in view.status.conditions] == ["FailureTarget", "Failed"]
    failed = view.condition("Failed")
    assert failed is not None
    assert view.status.active == 0
    return failed.reason, failed.message
