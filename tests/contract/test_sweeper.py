"""The sweeper on real clusters and payload stores: what is ours goes, what is somebody else's stays."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nexus.domain.events import OrphanCollected
from nexus.domain.garbage import Keeping
from nexus.domain.job import INSTALLATION, REQUEST_ID
from nexus.domain.topics import RUNS, read_event
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.payload_store import FolderPayloadStore
from nexus.embedded.run_store import SqliteRunStore
from nexus.journal import Journal
from nexus.ports import Partition
from streams.context import Context
from streams.supervisor.sweeper import Sweeper
from tests.contract.clusters import Bed, create, gone, kubernetes_bed, local_bed, running, until
from tests.support.servers import on_server

INSTALLED = "ours"
NOTHING = timedelta(0)


@pytest.fixture(params=["local", *on_server("kubernetes_server", "kubernetes")])
async def bed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bed]:
    if request.param == "local":
        async with local_bed(tmp_path / "cluster") as bed:
            yield bed
    else:
        async with kubernetes_bed(request.getfixturevalue("kubernetes_server")) as bed:
            yield bed


def annotated(job: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """A Job as our materializer marks it, but for these."""
    usual = {INSTALLATION: INSTALLED, REQUEST_ID: job["metadata"]["name"]}
    marks: Mapping[str, str] = {**usual, **annotations}
    job["metadata"]["annotations"] = {key: value for key, value in marks.items() if value}
    return job


async def test_what_is_ours_goes_and_what_is_somebody_elses_stays(bed: Bed, tmp_path: Path) -> None:
    orphan = await create(bed.cluster, annotated(bed.hangs()))
    await running(bed.cluster, orphan.metadata.name)
    others = [
        await create(bed.cluster, bed.hangs()),
        await create(bed.cluster, annotated(bed.hangs(), **{INSTALLATION: "another"})),
        await create(bed.cluster, annotated(bed.hangs(), **{REQUEST_ID: str(uuid.uuid4())})),
    ]

    def now() -> datetime:
        """Whole seconds are all that the API server tells of a creation."""
        return datetime.now(UTC) + timedelta(seconds=2)

    with (
        closing(SqliteEventLog(tmp_path / "log.db", {RUNS: 1}, lambda: now().timestamp())) as log,
        closing(SqliteRunStore(tmp_path / "projections.db")) as store,
    ):
        await store.advance({Partition(RUNS, 0): now()})
        sweeper = Sweeper(
            Context(store, Journal(log, "tests"), now, time.monotonic, random.random),
            {bed.cluster.name: bed.cluster},
            FolderPayloadStore(tmp_path / "payloads"),
            INSTALLED,
            Keeping(NOTHING, NOTHING, NOTHING),
        )
        report = await sweeper.report(100)
        assert [(each.name, each.uid) for each in report.garbage] == [
            (orphan.metadata.name, orphan.metadata.uid)
        ]
        await sweeper.sweep()
        await until(lambda: gone(bed.cluster, orphan.metadata.name))
        said = [read_event(each.headers, each.value) for each in await log.read(RUNS, 0, 0, 10)]
    assert [(type(each), each.request_id) for each in said] == [(OrphanCollected, orphan.metadata.name)] * 2
    before, after = (each for each in said if isinstance(each, OrphanCollected))
    assert (before.confirmed, after.confirmed, after.job_uid) == (False, True, orphan.metadata.uid)
    assert before.evidence is not None
    assert before.evidence.pods
    for other in others:
        there = await bed.cluster.get(other.metadata.name)
        assert there is not None
        assert (there.metadata.uid, there.metadata.deletion_timestamp) == (other.metadata.uid, None)
        await bed.cluster.delete(other.metadata.name, other.metadata.uid, "Background")
