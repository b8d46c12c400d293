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

__all__ = ["Garbage", "Keeping", "Owner", "is_unheard", "owner_of", "why_job_goes", "why_payload_goes"]


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


class Owner(msgspec.Struct, frozen=True):
    """Whose payload lies under a key."""

    algorithm: str
    request_id: str


def is_unheard(job: JobView, run: Run, cluster: str, installation: str) -> bool:
    """Whether this is the Job of a run of which nobody lived to say that it has one: it is told of, and is no garbage."""
    missing = not run.job_uid and run.request.cluster == cluster
    return missing and is_ours(job, run.request, installation)


def why_job_goes(job: JobView, run: Run | None, installation: str, until: datetime, grace: timedelta) -> str:
    """Empty for a Job that stays. `run` is that of its name; a Job of its own run goes with that, and not from here.

    Without a run it is let be for `grace`: rows are folded before Jobs are made of them, so that it was there for longer than
    its row, or this is not the run store that its row is in, which somebody should have the time to notice.
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


def owner_of(key: str) -> Owner | None:
    """None for what no Nexus of ours put there: its ids are UUIDv7."""
    folder, _, request_id = key.partition("/")
    algorithm = folder.removeprefix("algorithm=")
    try:
        parsed = parse_request_id(request_id)
    except InvalidInput:
        return None
    ours = payload_key(algorithm, parsed) == key and issued_at(parsed) is not None
    return Owner(algorithm, parsed) if ours else None


def why_payload_goes(
    owner: Owner, stored_at: datetime, run: Run | None, until: datetime, keeping: Keeping
) -> str:
    """Empty for a payload that stays."""
    if run is None:
        return "no run has it" if stored_at + keeping.payload_grace <= until else ""
    if run.request.algorithm != owner.algorithm or run.ended_at is None:
        return ""
    return "its run has ended" if run.ended_at + keeping.payload_retention <= until else ""
