"""Jobs created on a real API server: `nexus scheduler` beside bare posts of the same JSON; and from accept to Job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Self

import aiohttp
import msgspec

from nexus import __version__
from nexus.domain.events import JobCreated, RunRequested, decode_event
from nexus.domain.job import Materializer
from nexus.domain.topics import RUNS, requests_of
from nexus.kafka.event_log import KafkaEventLog
from nexus.kubernetes.credentials import from_kubeconfig
from tests.bench.figures import Pair, quantile
from tests.bench.real.accepts import BODY
from tests.bench.real.kept import opened_store, readable
from tests.bench.real.log import append, make_requests, opened_log
from tests.bench.real.servers import BenchServers, Site, apart
from tests.bench.report import Result, Row, paired

__all__ = ["measure"]

IN_FLIGHT = 32
# The throttle is for clusters that others use too; here it is our own part that is measured.
UNTHROTTLED = {
    "throttle__rate": "10000",
    "throttle__burst": "10000",
    "throttle__pending_floor": "10000",
    "throttle__pending_ceiling": "10000",
    "throttle__in_flight": str(IN_FLIGHT),
}
_PATIENCE = 300


async def measure(servers: BenchServers, rounds: int = 3, count: int = 1500, seconds: int = 20) -> Result:
    beside, away = Pair(), Pair()
    async with (
        Site.opened(servers, **UNTHROTTLED) as site,
        opened_log(site) as log,
        _Cluster(site) as cluster,
    ):
        await _create(site, log, count // 10)  # the first Jobs of an API server take longer
        await cluster.calm()
        for figures, where in ((beside, nullcontext()), (away, apart(servers))):
            with where:
                for _ in range(rounds):
                    figures.bare.append(await cluster.create(make_requests(count)))
                    await cluster.calm()
                    figures.ours.append(await _create(site, log, count))
                    await cluster.calm()
    # In a Nexus of its own: the runs above have lost their Jobs, and each of them would be told of.
    async with (
        Site.opened(servers, **UNTHROTTLED) as site,
        opened_log(site) as log,
        _Cluster(site) as cluster,
    ):
        await site.start("ledger", "watcher", "supervisor", "scheduler", "api")
        await _submitted(site, log, 10, 10)  # everybody has found the brokers and the others
        whole = _rate([created for _, created in await _submitted(site, log, count, 1000)])
        await cluster.calm()
        load = whole / 2
        waits = [
            (created - accepted).total_seconds()
            for accepted, created in await _submitted(site, log, int(load * seconds), load)
        ]
        await cluster.calm()
    return Result(
        [
            paired("Jobs created", "/s", beside, "0.9", "5/s"),
            paired("Jobs created, Kubernetes on a core of its own", "/s", away, "0.9", "5/s"),
            Row("Jobs created of submissions, all roles at work", whole, "/s"),
            Row(f"accept to Job at {load:.0f}/s, p50", quantile(waits, 0.5) * 1000, "ms"),
            Row(f"accept to Job at {load:.0f}/s, p99", quantile(waits, 0.99) * 1000, "ms"),
        ],
        f"Jobs: {count:,} requests that wait, {IN_FLIGHT} creates in flight, from the first to the last: so many that the controllers of the "
        "cluster are at work on either side. Bare: posts of the same JSON over one pool of connections, as many at a time. The scheduler, Kafka and Cassandra take part of "
        "the cores away from the API server, which a bare post does not; with Kubernetes on the first core and everything else on the other, what "
        f"is left to see is how busy the scheduler keeps it. Accept to Job: all roles at work, at half of what they do then, for {seconds} s, from "
        "the time in the request to the time at which the scheduler has the Job.",
    )


async def _create(site: Site, log: KafkaEventLog, count: int) -> float:
    """Jobs a second, from the first to the last of them."""
    requests = make_requests(count)
    await append(log, requests)
    await site.start("ledger")
    async with opened_store(site) as store:
        await readable(store, [request.request_id for request in requests], lambda run: True)
    await site.stop("ledger")
    before = await _ends(log)
    await site.start("scheduler")
    rate = _rate(await _created(log, before, count))
    await site.stop("scheduler")
    return rate


async def _submitted(
    site: Site, log: KafkaEventLog, count: int, rate: float
) -> list[tuple[datetime, datetime]]:
    """When each of so many runs was accepted and had its Job, submitted at this rate whatever the answers take."""
    before = await _ends(log)
    url = f"{site.api.url}/algorithm/v1/run/brief"
    async with aiohttp.ClientSession() as http:

        async def submit() -> str:
            async with http.post(url, data=BODY) as answer:
                assert answer.status == 202, await answer.text()
                return str((await answer.json())["requestId"])

        started = time.perf_counter()
        submissions = []
        for number in range(count):
            await asyncio.sleep(started + number / rate - time.perf_counter())
            submissions.append(asyncio.create_task(submit()))
        ids = set(await asyncio.gather(*submissions))
    jobs = await _jobs(log, before)
    async with asyncio.timeout(_PATIENCE):
        while not ids <= jobs.keys():
            await asyncio.sleep(0.5)
            jobs = await _jobs(log, before)
    requests = await _facts(log, requests_of("standalone"), [0] * len(before))
    accepted = {event.request_id: event.at for event in requests}
    return [(accepted[key], jobs[key]) for key in ids]


def _rate(times: Sequence[datetime]) -> float:
    """A second, from the first to the last."""
    return (len(times) - 1) / (max(times) - min(times)).total_seconds()


async def _jobs(log: KafkaEventLog, since: Sequence[int]) -> dict[str, datetime]:
    """When each Job was created that was after these offsets."""
    return {event.request_id: event.at for event in await _facts(log, RUNS, since)}


async def _created(log: KafkaEventLog, since: Sequence[int], count: int) -> list[datetime]:
    """When each Job was, once there are so many."""
    async with asyncio.timeout(_PATIENCE):
        while sum(await _ends(log)) - sum(since) < count:
            await asyncio.sleep(0.2)
    return list((await _jobs(log, since)).values())


async def _ends(log: KafkaEventLog) -> list[int]:
    return [await log.end(RUNS, number) for number in range((await log.topics())[RUNS])]


async def _facts(log: KafkaEventLog, topic: str, since: Sequence[int]) -> list[JobCreated | RunRequested]:
    """Of these two kinds."""
    found = []
    for number, offset in enumerate(since):
        while records := await log.read(topic, number, offset, 1000):
            offset = records[-1].position.offset + 1
            found += [
                event
                for record in records
                if isinstance(event := decode_event(record.value), JobCreated | RunRequested)
            ]
    return found


class _Cluster:
    """The API server, as nothing but HTTP."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._materializer = Materializer(site.name, __version__, timedelta(days=7))

    async def __aenter__(self) -> Self:
        access = await from_kubeconfig(self._site.kubeconfig)()
        authorization = await access.authorization()
        self._http = aiohttp.ClientSession(
            access.host,
            connector=aiohttp.TCPConnector(ssl=access.ssl, limit=IN_FLIGHT),
            headers={"Authorization": authorization} if authorization else {},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def create(self, requests: Sequence[RunRequested]) -> float:
        """Jobs a second."""
        url = self._site.api.url + "/payload?" + "s" * 200
        bodies = iter([msgspec.json.encode(self._materializer.job(each, url)) for each in requests])
        path = self._path("batch/v1", "jobs")

        async def post() -> None:
            for body in bodies:
                async with self._http.post(
                    path, data=body, headers={"Content-Type": "application/json"}
                ) as answer:
                    said = await answer.read()
                    assert answer.status == 201, said

        started = time.perf_counter()
        await asyncio.gather(*(post() for _ in range(IN_FLIGHT)))
        return len(requests) / (time.perf_counter() - started)

    async def calm(self) -> None:
        """Returns when all Jobs have ended, and are gone with their pods: nothing is left for the controllers to do."""
        async with asyncio.timeout(_PATIENCE):
            while any(
                not job["status"].get("completionTime") for job in await self._list("batch/v1", "jobs")
            ):
                await asyncio.sleep(0.5)
            async with self._http.delete(
                self._path("batch/v1", "jobs"), params={"propagationPolicy": "Background"}
            ) as answer:
                assert answer.status == 200, await answer.text()
            while await self._list("batch/v1", "jobs") or await self._list("v1", "pods"):
                await asyncio.sleep(0.5)

    async def _list(self, group: str, kind: str) -> list[dict[str, dict[str, object]]]:
        async with self._http.get(self._path(group, kind)) as answer:
            items: list[dict[str, dict[str, object]]] = (await answer.json())["items"]
            return items

    def _path(self, group: str, kind: str) -> str:
        root = "/api" if group == "v1" else "/apis"
        return f"{root}/{group}/namespaces/{self._site.name}/{kind}"
