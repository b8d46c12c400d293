"""Every event there is, as one tagged union. `docs/architecture.md` has the table of who emits what.

Evolution is additive: a new field has a default, a changed meaning is a new `version`, and the golden files under
`tests/unit/golden` stay readable for ever. Times are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec.structs import replace

from nexus.domain.canonical import Canonical
from nexus.domain.decoding import decoded
from nexus.domain.ids import fingerprint
from nexus.domain.observed import JobView, PodView, Waiting
from nexus.domain.template import AlgorithmSpec, WorkgroupSpec

__all__ = [
    "NO_PAYLOAD",
    "REPORTED",
    "ClusterCordoned",
    "ClusterUncordoned",
    "CollectedBy",
    "DeadLettered",
    "DeletionPolicy",
    "Diagnosis",
    "Event",
    "Evidence",
    "EvidenceRecorded",
    "Fact",
    "JobCollected",
    "JobCreated",
    "OrphanCollected",
    "Parent",
    "PayloadCollected",
    "RunCancelled",
    "RunCompleted",
    "RunDeadlineExceeded",
    "RunDeferred",
    "RunEnded",
    "RunFailed",
    "RunObserved",
    "RunRequested",
    "RunRequeued",
    "RunResumed",
    "RunSchedulingFailed",
    "RunStalled",
    "RunStarted",
    "RunTagged",
    "Swept",
    "TerminalFact",
    "decode_event",
    "encode_event",
    "event_id",
    "evidence_in",
]

REPORTED = "Reported"
"""The category of a failure that the algorithm told the receiver itself."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone: others could not be compared with ours."""

NO_PAYLOAD = msgspec.Raw()
"""The payload of a request that has none here."""

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class DeletionPolicy(StrEnum):
    """What becomes of a cancelled run's Job and its children, in Kubernetes' words. `ORPHAN`: children go on."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class CollectedBy(StrEnum):
    """Who deleted a Job."""

    NEXUS = "nexus"
    OTHER = "other"


class Parent(_Part, frozen=True):
    """The run that submitted this one (`parentRequest`, contract §1.1)."""

    request_id: str
    algorithm_name: str


class Diagnosis(_Part, frozen=True):
    """Why a run did not complete: one sentence of cause, the cluster's own words, and what to do."""

    category: str
    cause: str
    details: str = ""
    hint: str = ""


class Evidence(_Part, frozen=True):
    """What a cluster showed of a run before its Job was deleted; `note` tells why where there is nothing."""

    pods: tuple[PodView, ...] = ()
    events: tuple[str, ...] = ()
    log_tail: str = ""
    log_of: str = ""
    """The pod whose log it is: the last one that has any."""
    note: str = ""


class _Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    omit_defaults=True,
    tag=True,
    tag_field="type",
):
    """`at` is when it was appended, and no part of the identity: appending the same again is a repeat.

    `unsaid` names the fields that are no part of the identity, with the values that stand for them in the id.
    """

    version: ClassVar[int] = 1
    unsaid: ClassVar[dict[str, Any]] = {"at": _NEVER}

    request_id: str
    algorithm: str
    at: Moment

    @property
    def about(self) -> str:
        """What it is about, and the key of its record: a run."""
        return self.request_id


class RunRequested(Canonical, _Event, frozen=True):
    """A client submitted a run. Holds all that is needed to run it, today or again in a year."""

    unsaid = {"payload": NO_PAYLOAD}  # its hash and size are part of the identity; the row does not hold it

    cluster: str
    workgroup: str
    spec: AlgorithmSpec
    placement: WorkgroupSpec
    placement_deadline: Moment
    payload_valid_for: str
    content_hash: str
    payload_size: int
    payload_uri: str
    payload: msgspec.Raw = NO_PAYLOAD
    """The client's bytes where they are small enough to travel here; else they are at `payload_uri`."""
    overrides: AlgorithmSpec | None = None
    tag: str = ""
    parent: Parent | None = None
    api_version: str = ""
    dry_run: bool = False
    received_by: str = ""
    subject: str = ""
    """Who submitted it, such as `user:alice@example.com`; empty where nobody had to say."""
    tenant: str = ""
    """Whose it is, and counts against whom; empty: of whoever is of no tenant."""
    weight: int = 1
    """That of the tenant when it was accepted."""


class JobCreated(_Event, frozen=True):
    """The run's only Job exists. `cluster_id` is the uid of the cluster's kube-system namespace."""

    job_uid: str
    cluster: str
    cluster_id: str


class RunStarted(_Event, frozen=True):
    """The algorithm's container runs in `pod`."""

    started_at: Moment
    pod: str = ""


class RunStalled(_Event, frozen=True):
    """The run is stalled: its Job exists and cannot get on.

    The same may happen again, so the time is part of the identity.
    """

    unsaid = {}

    diagnosis: Diagnosis


class RunResumed(_Event, frozen=True):
    """The run is no longer stalled."""

    unsaid = {}


class RunDeferred(_Event, frozen=True):
    """The cluster kept refusing: the request is deferred until `until`. `attempt` counts from 1.

    `denied`: the last refusal was for want of credentials or of a permission.
    """

    unsaid = {"at": _NEVER, "until": _NEVER, "reason": "", "denied": False}

    attempt: int
    until: Moment
    reason: str = ""
    denied: bool = False


class RunRequeued(_Event, frozen=True):
    """A deferred request was appended to its requests topic again."""

    attempt: int


class RunTagged(_Event, frozen=True):
    """The run got another tag. It may get the former one again, so the time is part of the identity."""

    unsaid = {}

    tag: str
    subject: str = ""
    """Who changed it."""


class RunCompleted(_Event, frozen=True):
    """The algorithm reported a result, or a dry run got as far as it goes."""

    result_uri: str = ""
    job_uid: str = ""
    """`dry-run` where no Job was made."""
    details: str = ""
    """What the algorithm reported as `errorDetails` without an `errorCause`: by contract that completes the run."""


class RunFailed(_Event, frozen=True):
    """The run failed: the algorithm reported that, or its Job ended so, vanished, or is lost with its cluster."""

    unsaid = {"at": _NEVER, "evidence": None}

    diagnosis: Diagnosis
    evidence: Evidence | None = None


class RunDeadlineExceeded(_Event, frozen=True):
    """The Job ran into its deadline."""

    unsaid = {"at": _NEVER, "evidence": None}

    diagnosis: Diagnosis
    evidence: Evidence | None = None


class RunSchedulingFailed(_Event, frozen=True):
    """No Job was created for the run, or no container of its Job could be started."""

    unsaid = {"at": _NEVER, "evidence": None}

    diagnosis: Diagnosis
    evidence: Evidence | None = None


class RunCancelled(Canonical, _Event, frozen=True):
    """Somebody cancelled the run, or its parent: then reason, initiator and policy are those of that cancel."""

    reason: str = ""
    initiator: str = ""
    policy: DeletionPolicy = DeletionPolicy.BACKGROUND
    with_parent: str = ""
    """The id of the parent that was cancelled."""
    subject: str = ""
    """Who cancelled it, as far as that was proved: `initiator` is what was said."""


class EvidenceRecorded(_Event, frozen=True):
    """What an ended run's Job shows, before it is deleted."""

    evidence: Evidence


class JobCollected(Canonical, _Event, frozen=True):
    """The Job is deleted. `by` tells whether Nexus did it, or found it done."""

    job_uid: str
    by: CollectedBy = CollectedBy.NEXUS


class OrphanCollected(_Event, frozen=True):
    """A sweep deletes a Job that no run has, or that is not the Job of the run of its name.

    Appended before, with the evidence, and again, `confirmed`, after that.
    """

    unsaid = {"at": _NEVER, "evidence": None}

    job_uid: str
    cluster: str
    cluster_id: str
    because: str
    confirmed: bool = False
    evidence: Evidence | None = None


class PayloadCollected(_Event, frozen=True):
    """A sweep deletes a payload past its time. Appended before, and again, `confirmed`, after that."""

    key: str
    because: str
    confirmed: bool = False


class RunObserved(_Event, frozen=True):
    """What a watcher saw of a run: its Job and its pods as they are now, or as they last were.

    `waited` is the last reason for which a container could not start: it outlives the pod that showed it.
    """

    cluster: str
    cluster_id: str
    job: JobView | None = None
    gone: bool = False
    pods: tuple[PodView, ...] = ()
    waited: Waiting | None = None


class RunEnded(_Event, frozen=True):
    """The notification on `nexus.results`, one per run: a public contract. Members as `GET .../results`.

    The tag may have changed when it is appended again; the end is the same.
    """

    unsaid = {"at": _NEVER, "tag": ""}

    status: str
    result_uri: str
    run_error_message: str
    tag: str = ""
    parent: Parent | None = None


class DeadLettered(_Event, frozen=True):
    """A record failed by its own content; here it is as it was received."""

    topic: str
    partition: int
    offset: int
    reason: str
    record: bytes


class _OfCluster(_Event, frozen=True, kw_only=True):
    """Of no run, but of a cluster. What happened to it may happen again, so the time is part of the identity."""

    unsaid = {}

    request_id: str = ""
    algorithm: str = ""
    cluster: str
    subject: str = ""
    """Who asked for it, as far as the server knows."""
    reason: str = ""

    @property
    def about(self) -> str:
        return self.cluster


class ClusterCordoned(_OfCluster, frozen=True, kw_only=True):
    """The cluster finishes what it has, and is given nothing more."""


class ClusterUncordoned(_OfCluster, frozen=True, kw_only=True):
    """The cluster is given Jobs again."""


def evidence_in(event: object) -> Evidence | None:
    """Take the evidence out of an event, where it has any."""
    return getattr(event, "evidence", None)


TerminalFact = RunCompleted | RunFailed | RunDeadlineExceeded | RunSchedulingFailed | RunCancelled
Swept = OrphanCollected | PayloadCollected
"""Events of a sweep, under the id of a run that may not exist, or no longer."""
Fact = (
    TerminalFact
    | JobCreated
    | RunStarted
    | RunStalled
    | RunResumed
    | RunDeferred
    | RunRequeued
    | RunTagged
    | EvidenceRecorded
    | JobCollected
    | Swept
)  # fmt: skip
Event = RunRequested | Fact | RunObserved | RunEnded | DeadLettered | ClusterCordoned | ClusterUncordoned

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    return _encoder.encode(event)


def decode_event(body: bytes, field: str = "") -> Event:
    """Raises InvalidInput for `field` where the body is no event of a known type."""
    return decoded(_decoder, body, field)


def event_id(event: Event, body: bytes | None = None) -> str:
    """A hash of run, type and what was said; `body` is the event's encoding where the caller has it already."""
    said = encode_event(replace(event, **event.unsaid)) if event.unsaid else body or encode_event(event)
    return fingerprint(event.request_id, type(event).__name__, said)
