"""What each role does at an API server, by its own adapters, with a note of everything that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from nexus.domain.sync.copies import Apply, Object
from nexus.domain.sync.objects import API_VERSIONS, CONFIG_MAP, SECRET, Condition, Key, Status
from nexus.domain.sync.status import Notice
from nexus.kubernetes.cluster import KubernetesCluster
from nexus.kubernetes.connection import Answer, Connection, Method
from nexus.kubernetes.lease import Lease
from nexus.kubernetes.objects import KubernetesObjects
from nexus.kubernetes.templates import KubernetesTemplates
from nexus.ports import Listed
from tests.contract.clusters import manifest

__all__ = ["ACTS", "Act", "Asked", "Noted"]

TEMPLATE, WORKGROUP = "NexusAlgorithmTemplate", "NexusAlgorithmWorkgroup"
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}


class Asked(NamedTuple):
    """One thing that an API server is to allow."""

    verb: str
    group: str
    resource: str
    """With its subresource: `pods/log`."""
    name: str = ""


class Noted(Connection):
    """A connection that remembers what it asked for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: set[Asked] = set()

    async def request(
        self, method: Method, path: str, body: bytes | None = None, *, content_type: str = "application/json"
    ) -> Answer:
        answer = await super().request(method, path, body, content_type=content_type)
        if path == "/version":  # which is for everybody
            return answer
        asked = _asked(method, path)
        self.asked.add(asked)
        if method == "PATCH" and answer.status == 201:  # an apply makes what is not there
            self.asked.add(asked._replace(verb="create"))
        return answer

    @asynccontextmanager
    async def stream(self, path: str, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.add(_asked("GET", path))
        async with super().stream(path, silence) as pieces:
            yield pieces

    async def watches(self, *resources: str) -> None:
        """Return once these are watched."""
        while not {asked.resource for asked in self.asked if asked.verb == "watch"}.issuperset(resources):
            await asyncio.sleep(0.01)


def _asked(method: str, path: str) -> Asked:
    url = urlsplit(path)
    root, *parts = url.path.strip("/").split("/")
    group, parts = ("", parts[1:]) if root == "api" else (parts[0], parts[2:])
    if len(parts) > 2:  # in a namespace
        parts = parts[2:]
    resource, name, *sub = [*parts, ""][: max(len(parts), 2)]
    if method == "GET":
        verb = "get" if name else "watch" if "watch" in parse_qs(url.query) else "list"
    else:
        verb = _VERBS[method] + ("collection" if method == "DELETE" and not name else "")
    return Asked(verb, group, "/".join([resource, *sub]), name)


class Act(NamedTuple):
    """A role in a namespace, with the rights of its account; `prepare` is what others have done before."""

    connection: Noted
    namespace: str
    role: str
    admin: Callable[..., Awaitable[Any]]


async def templates(act: Act) -> None:
    """The API and the receiver follow what is deployed, and so does the scheduler, for its verdicts."""
    found = KubernetesTemplates(act.connection, act.namespace)
    await found.start()
    await _until_watched(found.watch(), act, "nexusalgorithmtemplates", "nexusalgorithmworkgroups")


async def watching(act: Act) -> None:
    async def all_of_it() -> None:
        async with aclosing(_cluster(act).watch()) as changes:
            async for _ in changes:
                pass

    await _until_watched(all_of_it(), act, "jobs", "pods")


async def listing(act: Act) -> None:
    """What would be swept up, and what is."""
    async with aclosing(_cluster(act).watch()) as changes:
        assert isinstance(await anext(changes), Listed)


async def identity(act: Act) -> None:
    await _cluster(act).identity()


async def placing(act: Act) -> None:
    """With what a scheduler asks before, for its verdicts."""
    cluster = _cluster(act)
    assert await cluster.version()
    job = manifest({"command": ["true"]})
    await cluster.judge(job)
    assert (await cluster.create(job)).fresh
    assert await cluster.get(job["metadata"]["name"])


async def supervising(act: Act) -> None:
    """Evidence of a Job, and its deletion in each way."""
    cluster = _cluster(act)
    job = manifest({"command": ["true"]})
    name = job["metadata"]["name"]
    await act.admin("POST", "/apis/batch/v1/namespaces/{}/jobs", job)
    found = await cluster.get(name)
    assert found
    await cluster.pods(name)
    await cluster.events(name)
    assert await cluster.log_tail(f"{name}-none", 100) == ""
    assert await cluster.delete(name, found.metadata.uid, "Orphan")


async def leading(act: Act) -> None:
    lease = Lease(
        act.connection, act.namespace, f"nexus-{act.role}", holder="tests", clock=lambda: datetime.now(UTC)
    )

    async def work(_: int) -> None:
        return

    await lease.lead(work)


async def syncing(act: Act) -> None:
    """The controller in the cluster of the sources."""
    objects = KubernetesObjects("home", act.connection, act.namespace)
    for kind, at in ((TEMPLATE, "nexusalgorithmtemplates"), (WORKGROUP, "nexusalgorithmworkgroups")):
        body = {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": {"name": "synced"}}
        spec = {"cluster": "eu"} if kind == WORKGROUP else _SPEC
        await act.admin("POST", f"/apis/{API_VERSIONS[kind]}/namespaces/{{}}/{at}", body | {"spec": spec})
        [source] = [found for found in await _listed(objects, kind, act) if found.metadata.name == "synced"]
        key = Key(kind, "synced")
        changed = await objects.set_finalizers(key, source, ["nexus.test/kept"])
        assert changed
        now = datetime.now(UTC)
        ready = Condition("Ready", "True", "AlgorithmReady", "ready", now.strftime("%Y-%m-%dT%H:%M:%SZ"))
        assert await objects.set_status(key, changed, Status(conditions=(ready,)))
        await objects.record(key, changed, Notice("Normal", "Synced", "synced"), now)
        latest = next(found for found in await _listed(objects, kind, act) if found.metadata.name == "synced")
        assert await objects.set_finalizers(key, latest, [])
    for kind in (SECRET, CONFIG_MAP):
        await _listed(objects, kind, act)


async def synced(act: Act) -> None:
    """The controller in a shard: it makes, changes and removes its copies."""
    objects = KubernetesObjects("eu", act.connection, act.namespace)
    for kind in (TEMPLATE, WORKGROUP, SECRET, CONFIG_MAP):
        key = Key(kind, "copied")
        body = {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": {"name": key.name}}
        held = {TEMPLATE: {"spec": _SPEC}, WORKGROUP: {"spec": {"cluster": "eu"}}}.get(kind, {"data": {}})
        made = await objects.apply(Apply(key, body | held, None))
        assert made
        assert await objects.apply(Apply(key, body | held, made))
        await objects.delete(key, made.metadata.uid)
        await _listed(objects, kind, act)


_SPEC = {
    "container": {"image": "i", "registry": "r", "versionTag": "v1"},
    "command": "python main.py",
    "workgroupRef": {"name": "wg", "group": "science.sneaksanddata.com/v1", "kind": WORKGROUP},
}
_PLACES = [identity, placing]
_SUPERVISES = [identity, listing, supervising]
_WATCHES = [identity, watching, leading]

ACTS: dict[tuple[str, str], Iterable[Callable[[Act], Awaitable[None]]]] = {
    ("single", "api"): [templates, listing],
    ("single", "receiver"): [templates],
    ("single", "scheduler"): [*_PLACES, templates],
    ("single", "ledger"): [],
    ("single", "watcher"): _WATCHES,
    ("single", "supervisor"): _SUPERVISES,
    ("controller", "api"): [templates],
    ("controller", "scheduler"): [templates],
    ("controller", "ledger"): [],
    ("controller", "controller"): [identity, leading, syncing],
    ("shard", "receiver"): [templates],
    ("shard", "watcher"): _WATCHES,
    ("shard", "supervisor"): _SUPERVISES,
    ("shard", "remote-scheduler"): [*_PLACES, listing],
    ("shard", "remote-controller"): [identity, synced],
}
"""By mode and role."""


def _cluster(act: Act) -> KubernetesCluster:
    return KubernetesCluster("standalone", act.connection, act.namespace)


async def _listed(objects: KubernetesObjects, kind: str, act: Act) -> list[Object]:
    """Also watched."""
    resource = {
        TEMPLATE: "nexusalgorithmtemplates",
        WORKGROUP: "nexusalgorithmworkgroups",
        SECRET: "secrets",
        CONFIG_MAP: "configmaps",
    }[kind]
    async with aclosing(objects.watch(kind)) as heard:
        found = await anext(heard)
        await _until_watched(anext(heard), act, resource)
    return [one for one in found if isinstance(one, Object)]


async def _until_watched(work: Any, act: Act, *resources: str) -> None:
    watching = asyncio.ensure_future(work)
    seen = asyncio.create_task(act.connection.watches(*resources))
    await asyncio.wait({watching, seen}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    refused = watching.done() and watching.exception()
    for task in (watching, seen):
        task.cancel()
    await asyncio.gather(watching, seen, return_exceptions=True)
    assert not refused, refused
    assert {asked.resource for asked in act.connection.asked if asked.verb == "watch"}.issuperset(resources)
