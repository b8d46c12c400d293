"""What Nexus made and nothing needs any more: which Jobs and payloads may go, and why. What is not ours is never named here.

`until` is the watermark: what was said before it is in the rows that are asked.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from nexus.domain.errors import InvalidInput
from nexus.domain.ids import issued_at, parse_request_id
from nexus.domain.job import INSTALLATION, REQUEST_ID, is_ours
from nexus.domain.observed import JobView
from nexus.domain.payload import payload_key
from nexus.domain.run import Run

__all__ = ["Garbage", "Keeping", "PayloadOf", "is_unreported", "owner_of", "why_job_goes", "why_payload_goes"]


class Garbage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A Job or a payload that goes. `uid` and `cluster` are those of a Job, `since` is when it was made or stored."""

    kind: Literal["job", "payload"]
    name: str
    request_id: str
    algorithm: str
    because: str
    since: datetime | None = None
    cluster: str = ""
    uid: str = ""


class Keeping(msgspec.Struct, frozen=True):
    """How long what is kept: a Job without a run, a payload after its run's end, and a payload without a run."""

    job_grace: timedelta
    payload_retention: timedelta
    payload_grace: timedelta

    @property
    def shortest(self) -> timedelta:
        """No payload goes that is younger."""
        return min(self.payload_retention, self.payload_grace)


class PayloadOf(msgspec.Struct, frozen=True):
    """The run whose payload lies under a key."""

    algorithm: str
    request_id: str


def is_unreported(job: JobView, run: Run, cluster: str, installation: str) -> bool:
    """Whether this is the Job of a run whose `JobCreated` nobody lived to append: then append it, and keep the Job."""
    missing = not run.job_uid and run.request.cluster == cluster
    return missing and is_ours(job, run.request, installation)


def why_job_goes(job: JobView, run: Run | None, installation: str, until: datetime, grace: timedelta) -> str:
    """Tell why to delete a Job; empty for one that stays.

    `run` is the run of its name, whose own Job the collector deletes. A Job without a run is kept for `grace`. A row is
    folded before its Job is created, so either the row has expired, or this is not the run store that has the row, which
    an operator needs time to notice.
    """
    metadata = job.metadata
    annotations = metadata.annotations
    ours = annotations.get(INSTALLATION) == installation and annotations.get(REQUEST_ID) == metadata.name
    created = metadata.creation_timestamp
    if not ours or metadata.deletion_timestamp or created is None:
        return ""
    if run is None:
        return "there is no run of its name" if created + grace <= until else ""
    if not run.ended:
        return ""
    if metadata.uid != run.job_uid:
        return "its run has ended, and had another Job or none"
    return "its run has ended, and its Job was taken for gone" if run.collected_at else ""


def owner_of(key: str) -> PayloadOf | None:
    """Tell whose payload a key is; None for what no Nexus put there: our ids are UUIDv7."""
    folder, _, request_id = key.partition("/")
    algorithm = folder.removeprefix("algorithm=")
    try:
        parsed = parse_request_id(request_id)
    except InvalidInput:
        return None
    ours = payload_key(algorithm, parsed) == key and issued_at(parsed) is not None
    return PayloadOf(algorithm, parsed) if ours else None


def why_payload_goes(
    owner: PayloadOf, stored_at: datetime, run: Run | None, until: datetime, keeping: Keeping
) -> str:
    """Tell why to delete a payload; empty for one that stays."""
    if run is None:
        return "no run has it" if stored_at + keeping.payload_grace <= until else ""
    if run.request.algorithm != owner.algorithm or run.ended_at is None:
        return ""
    return "its run has ended" if run.ended_at + keeping.payload_retention <= until else ""
