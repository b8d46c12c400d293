"""Whether a cluster would refuse the Job of an algorithm as it is deployed, before anybody submits a run of it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import msgspec

from nexus.domain.errors import Refused
from nexus.domain.events import RunRequested
from nexus.domain.ids import fingerprint
from nexus.domain.submission import Submission, request_run
from nexus.domain.template import AlgorithmSpec, Template, Workgroup, WorkgroupSpec

__all__ = ["ASKED_AGAIN", "Verdict", "digest", "is_certain", "sample"]

ASKED_AGAIN = timedelta(minutes=1)
"""After which a cluster that would refuse a Job is asked once more: the reason may have been mended."""
_HOLDS = 10 * ASKED_AGAIN
"""A refusal counts for so long after it was last repeated: where no scheduler asks any more, nobody would learn of its end."""
_OF_THE_MOMENT = re.compile(r"denied the request|does not support dry run|failed calling webhook")
"""Of webhooks: they judge by more than the Job, or take no part in a dry run."""

_SAMPLE = "00000000-0000-7000-8000-000000000000"
_encode = msgspec.json.Encoder(order="deterministic").encode


class Verdict(msgspec.Struct, frozen=True):
    """`digest` is that of what was judged. `refusal` is in the cluster's words, and empty where it would take the Job."""

    cluster: str
    digest: str
    at: datetime
    refusal: str = ""

    def refuses(self, now: datetime) -> bool:
        return bool(self.refusal) and now < self.at + _HOLDS


def digest(algorithm: str, spec: AlgorithmSpec, placement: WorkgroupSpec) -> str:
    """The same for what makes the same Jobs. Overrides that change something are another, which nobody has judged."""
    return fingerprint(algorithm, _encode(spec), _encode(placement))


def sample(template: Template, workgroup: Workgroup, now: datetime) -> RunRequested:
    """A request as a submission without overrides makes it. No run has its id."""
    return request_run(
        Submission(algorithm_parameters=msgspec.Raw(b"{}")),
        None,
        template,
        workgroup,
        request_id=_SAMPLE,
        at=now,
        place_within=ASKED_AGAIN,
        dry_run=True,
        received_by="",
    )


def is_certain(refused: Refused) -> bool:
    """Whether the Job itself is what was refused: not so for a quota, a missing right, an overload or a webhook."""
    return refused.status in {400, 413, 422} and not _OF_THE_MOMENT.search(refused.reason)
