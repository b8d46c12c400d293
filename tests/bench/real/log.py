"""What a benchmark puts into the log itself, and reads out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from nexus.composition.engines import THIS
from nexus.domain.events import JobCollected, JobCreated, RunCompleted, RunRequested, RunStarted
from nexus.domain.payload import payload_path
from nexus.domain.topics import RUNS
from nexus.journal import Journal
from nexus.kafka.event_log import KafkaEventLog
from tests.bench.real.servers import Site
from tests.support.factories import algorithm, run_requested

__all__ = ["append", "facts_of", "make_requests", "opened_log"]

_TOGETHER = 500
_PAYLOAD = msgspec.json.encode({"name": "bench", "pad": "x" * 200})


@asynccontextmanager
async def opened_log(site: Site) -> AsyncIterator[KafkaEventLog]:
    config = site.config
    log = KafkaEventLog(config.kafka, {RUNS: config.log.run_partitions})
    await log.start()
    try:
        yield log
    finally:
        await log.close()


def make_requests(count: int) -> list[RunRequested]:
    """As the API makes them, of one algorithm."""
    spec = algorithm(
        computeResources={"cpuLimit": "100m", "memoryLimit": "64Mi"},
        runtimeEnvironment={
            "deadlineSeconds": 600,
            "maximumRetries": 1,
            "annotations": {"sim.nexus.test/run-for": "1s"},
        },
    )
    first = run_requested(algorithm="brief", spec=spec, payload=_PAYLOAD, tag="bench")
    made = []
    for _ in range(count):
        key, at = THIS.new_id(), THIS.clock()
        made.append(
            replace(
                first,
                request_id=key,
                at=at,
                placement_deadline=at + timedelta(days=1),
                payload_uri=payload_path(first.algorithm, key),
            )
        )
    return made


def facts_of(request: RunRequested) -> list[JobCreated | RunStarted | RunCompleted | JobCollected]:
    """The rest of a run's life."""
    said = {"request_id": request.request_id, "algorithm": request.algorithm, "at": request.at}
    return [
        JobCreated(**said, job_uid=request.request_id, cluster=request.cluster, cluster_id="c"),
        RunStarted(**said, started_at=request.at, pod="p"),
        RunCompleted(**said, result_uri="s3://bucket/result"),
        JobCollected(**said, job_uid=request.request_id),
    ]


async def append(log: KafkaEventLog, events: list[RunRequested] | list[RunCompleted]) -> None:
    journal = Journal(log, "nexus/bench")
    for start in range(0, len(events), _TOGETHER):
        await journal.append(events[start : start + _TOGETHER])
