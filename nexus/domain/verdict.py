"""What a cluster says to the Job of an algorithm as it is deployed, before anybody submits a run of it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import msgspec

from nexus.domain.errors import Refused
from nexus.domain.events import RunRequested
from nexus.domain.ids import fingerprint
from nexus.domain.submission import Submission, request_run
from nexus.domain.template import AlgorithmSpec, Template, Workgroup, WorkgroupSpec

__all__ = ["ASKED_AGAIN", "Verdict", "digest", "is_certain", "sample"]

ASKED_AGAIN = timedelta(minutes=1)
"""After which a cluster that refused a Job is asked once more: its mind may have changed."""
_HOLDS = 10 * ASKED_AGAIN
"""A refusal that nobody has heard for so long may be one that nobody can ask about any more."""
_OF_THE_MOMENT = re.compile(r"denied the request|does not support dry run|failed calling webhook")
"""Words of webhooks: these judge by more than the Job, or cannot be asked in advance."""

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
    return fingerprint(algorithm, _encode(_given(spec)), _encode(_given(placement)))


def _given(section: msgspec.Struct) -> dict[str, Any]:
    """Without sections that are empty: whether these are written depends on how the value was made."""
    members = {name: getattr(section, name) for name in section.__struct_fields__}
    plain = {
        name: _given(value) if isinstance(value, msgspec.Struct) else value for name, value in members.items()
    }
    return {name: value for name, value in plain.items() if value not in ("", None, {}, [])}


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
    """Whether the Job itself is what was refused: not so for a quota, a missing right, an overload or a webhook's mood."""
    return refused.status in {400, 413, 422} and not _OF_THE_MOMENT.search(refused.reason)
