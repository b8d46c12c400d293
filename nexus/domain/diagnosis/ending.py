"""One way in which a run can end without completing, as data, and the fact that is made of it.

The wording of the causes is that of contract §2 where it has one: clients compare it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from nexus.domain.events import Diagnosis, Evidence, RunDeadlineExceeded, RunFailed, RunSchedulingFailed
from nexus.domain.run import Run

__all__ = ["FATAL", "LAUNCH", "NO_LAUNCH", "TOO_LONG", "Ending", "Failure", "ended"]

Failure = RunFailed | RunDeadlineExceeded | RunSchedulingFailed

LAUNCH = "Algorithm submission was buffered, but failed to launch on the target cluster: {}"
NO_LAUNCH = LAUNCH.format(
    "Unable to launch a container for the algorithm - please review configuration and try again."
)
FATAL = "Algorithm encountered a fatal error during execution: {}"
TOO_LONG = "Algorithm exceeded its max allowed run time limit or retry attempt count."


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """`when` says in words of a person when it applies; `cause` is one sentence, `hint` what to do."""

    category: str
    when: str
    ends_as: type[Failure]
    cause: str
    hint: str


def ended(run: Run, ending: Ending, diagnosis: Diagnosis, evidence: Evidence | None, at: datetime) -> Failure:
    """The fact that ends the run so."""
    return ending.ends_as(
        request_id=run.id, algorithm=run.request.algorithm, at=at, diagnosis=diagnosis, evidence=evidence
    )
