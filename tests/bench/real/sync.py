"""Templates copied to three clusters: a controller beside a bare loop of server-side applies."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from infra.services.kubernetes.beside import ClusterBeside
from nexus.domain.manifest import TEMPLATE
from nexus.kubernetes.connection import Answer, Connection, Method
from nexus.kubernetes.credentials import from_kubeconfig
from nexus.kubernetes.objects import KubernetesObjects
from nexus.ports import Objects
from streams.controller.controller import Controller
from tests.bench.figures import Pair
from tests.bench.real.servers import BenchServers
from tests.bench.report import Result, Row, paired
from tests.support.kube import RESOURCES, Namespace, install_kinds

__all__ = ["measure"]

_SHARDS = 3
_IN_FLIGHT = 8
"""In each shard, on either side."""
_PATIENCE = 300
_APPLY = "application/apply-patch+yaml"
_AT = f"{RESOURCES}/nexusalgorithmtemplates"


class _Counted(Connection):
    """Requests that change something, or wait for nothing."""

    calls = 0

    async def request(self, method: Method, path: str, body: bytes | None = None, **how: Any) -> Answer:
        self.calls += 1
        return await super().request(method, path, body, **how)


async def measure(servers: BenchServers, rounds: int = 3, count: int = 500) -> Result:
    figures, calls = Pair(), Pair()
    async with _clusters(servers) as connections:
        for _ in range(rounds):
            for side, copy in ((figures.bare, _bare), (figures.ours, _controlled)):
                spaces = await _spaces(connections)
                before = sum(each.calls for each in connections)
                side.append(_SHARDS * count / await copy(spaces, count))
                counts = calls.ours if side is figures.ours else calls.bare
                counts.append(sum(each.calls for each in connections) - before)
        again = await _started_again(spaces, connections)
    copies = f"{count} templates to {_SHARDS} clusters"
    return Result(
        [
            paired(f"Copies made, {copies}", "/s", figures, "0.2"),
            Row(f"calls, {copies}", calls.rate, "", calls.bare_rate, 1 / calls.ratio),
            Row("calls of a start with nothing to do", again, ""),
        ],
        f"Copies: {copies}, each cluster an API server of its own on one etcd, {_IN_FLIGHT} applies in flight in each. Bare: the applies "
        "alone, of what is known to be missing. The controller also follows all kinds of all clusters, puts a finalizer on each template, "
        "writes its status twice and an Event, so that its calls are at least 7 for each template where the bare loop has 3; until every "
        "template is Ready.",
    )


async def _bare(spaces: Sequence[Namespace], count: int) -> float:
    """Seconds."""
    started = time.perf_counter()
    await asyncio.gather(*(_apply(there, count) for there in spaces[1:]))
    return time.perf_counter() - started


async def _controlled(spaces: Sequence[Namespace], count: int) -> float:
    """Seconds from the start of a controller until all are Ready."""
    home, *shards = spaces
    counted = home.connection
    assert isinstance(counted, _Counted)
    await _apply(home, count)
    counted.calls -= count  # they are the user's
    running = asyncio.create_task(_controller(home, shards).run())
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE):
            while await _ready(home) < count:
                assert not running.done(), running
                await asyncio.sleep(0.2)
        return time.perf_counter() - started
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _started_again(spaces: Sequence[Namespace], connections: Sequence[_Counted]) -> int:
    home, *shards = spaces
    before = sum(each.calls for each in connections)
    running = asyncio.create_task(_controller(home, shards).run())
    await asyncio.sleep(5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return sum(each.calls for each in connections) - before


def _controller(home: Namespace, shards: Sequence[Namespace]) -> Controller:
    def opens(number: int) -> Any:
        async def opened() -> Objects:
            there = shards[number]
            return KubernetesObjects(f"shard-{number}", there.connection, there.name)

        return opened

    return Controller(
        KubernetesObjects("home", home.connection, home.name),
        {f"shard-{number}": opens(number) for number in range(len(shards))},
        "bench",
        removed=(),
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        chance=random.random,
    )


async def _apply(there: Namespace, count: int) -> None:
    bodies = iter([msgspec.json.encode(_manifest(number)) for number in range(count)])
    numbers = iter(range(count))

    async def apply() -> None:
        for body in bodies:
            at = f"{_AT.format(there.name)}/algorithm-{next(numbers)}?fieldManager=bench"
            answer = await there.connection.request("PATCH", at, body, content_type=_APPLY)
            assert answer.status == 201, answer.body

    await asyncio.gather(*(apply() for _ in range(_IN_FLIGHT)))


def _manifest(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "science.sneaksanddata.com/v1",
        "kind": TEMPLATE,
        "metadata": {"name": f"algorithm-{number}"},
        "spec": {
            "container": {"image": "algorithm", "registry": "registry", "versionTag": f"v{number}"},
            "command": "python main.py",
            "args": ["--sas-uri=%s", "--request-id=%s"],
            "computeResources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "workgroupRef": {"name": "workgroup"},
            "runtimeEnvironment": {"deadlineSeconds": 3600, "maximumRetries": 3},
        },
    }


async def _ready(home: Namespace) -> int:
    """How many are."""
    request = super(_Counted, home.connection).request  # type: ignore[misc]
    answer: Answer = await request("GET", _AT.format(home.name))
    return answer.body.count(b'"reason":"AlgorithmReady","status":"True"')


async def _spaces(connections: Sequence[_Counted]) -> list[Namespace]:
    """A namespace of the same new name in each cluster."""
    spaces = [Namespace(each, name) for name in [f"bench-{uuid.uuid4().hex[:8]}"] for each in connections]
    for there in spaces:
        await there.call("POST", "/api/v1/namespaces", {"metadata": {"name": there.name}})
        await install_kinds(there)
    return spaces


@asynccontextmanager
async def _clusters(servers: BenchServers) -> AsyncIterator[list[_Counted]]:
    """The one that is synced from, and the shards."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nexus-bench-")))
        connections = []
        for number in range(1 + _SHARDS):
            server = ClusterBeside(servers.kubernetes, folder / str(number))
            stack.callback(server.remove)
            await asyncio.to_thread(server.start)
            connection = _Counted(f"cluster-{number}", from_kubeconfig(server.kubeconfig))
            await connection.open()
            stack.push_async_callback(connection.close)
            connections.append(connection)
        yield connections
