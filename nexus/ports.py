"""The ports: what Nexus asks of a log, a store, a cluster. Each has an embedded and a real adapter.

Every method may raise `Unavailable` (nothing happened) or `OutcomeUnknown` (it may have happened).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from nexus.domain.access import Proof
from nexus.domain.errors import InvalidInput
from nexus.domain.events import DeletionPolicy, Event, RunRequested
from nexus.domain.figures import Figures
from nexus.domain.observed import JobView, PodView
from nexus.domain.reachability import Contact
from nexus.domain.run import Run, Stage
from nexus.domain.sync.copies import Apply
from nexus.domain.sync.objects import Key, Object, Status
from nexus.domain.sync.status import Notice
from nexus.domain.template import Template, Workgroup
from nexus.domain.topics import NewRecord
from nexus.domain.verdict import Verdict

__all__ = [
    "PIECE",
    "Change",
    "Claim",
    "Claims",
    "Cluster",
    "Created",
    "EventLog",
    "Folded",
    "FoldedFact",
    "HistoryEntry",
    "Leadership",
    "Listed",
    "ObjectChange",
    "Objects",
    "Partition",
    "PayloadStore",
    "PayloadUrls",
    "Position",
    "Record",
    "RunFilter",
    "RunStore",
    "StoredPayload",
    "Templates",
    "TokenSource",
]


class Partition(NamedTuple):
    """One of a topic's partitions, numbered from 0."""

    topic: str
    number: int


class Position(NamedTuple):
    """The place of a record in the log."""

    topic: str
    partition: int
    offset: int


class Record(NamedTuple):
    """A record as it lies in the log. `timestamp` is when the log took it, in unix seconds."""

    position: Position
    key: str
    value: bytes
    headers: dict[str, str]
    timestamp: float


class EventLog(Protocol):
    """The durable log. Topics have a fixed number of partitions; a key always goes to the same one."""

    async def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append records, durably when this returns; answers their positions.

        Raises `Unavailable` where nothing was appended, and `OutcomeUnknown` where that is not known.
        """
        ...

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        """Read up to `limit` records from `offset` on; fewer, or none, at the end."""
        ...

    async def topics(self) -> Mapping[str, int]:
        """Name every topic, with its number of partitions."""
        ...

    async def end(self, topic: str, partition: int) -> int:
        """Tell the offset that the next record will get."""
        ...

    async def check(self) -> None:
        """Find out whether it takes records now, without appending one. Raises Unavailable."""
        ...


class HistoryEntry(msgspec.Struct, frozen=True):
    """One event of a run's history. The request has `offset` -1; facts have theirs in `nexus.runs`."""

    offset: int
    event_id: str
    event: Event


class FoldedFact(NamedTuple):
    """One fact that was folded: its offset in `nexus.runs`, its event's id, and the event as it lies in the log."""

    offset: int
    event_id: str
    event: bytes


class Folded(msgspec.Struct, frozen=True):
    """What the ledger writes of one run in one go: its row, the history since, and an inline payload."""

    run: Run
    history: Sequence[FoldedFact]
    payload: bytes | None = None


class RunFilter(msgspec.Struct, frozen=True):
    """Which runs to list; every condition that is set must hold. Times bound when the run was received."""

    algorithm: str | None = None
    stage: Stage | None = None
    tag: str | None = None
    parent: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class RunStore(Protocol):
    """The projections. Only the ledger writes; everybody reads."""

    async def get(self, request_id: str) -> Run | None: ...

    async def get_many(self, request_ids: Sequence[str]) -> dict[str, Run]: ...

    async def payload(self, request_id: str) -> bytes | None:
        """Read the payload of a run, where it travelled inline."""
        ...

    async def history(self, request_id: str) -> list[HistoryEntry]: ...

    async def find(self, where: RunFilter, limit: int, after: str = "") -> list[Run]:
        """List runs, newest first by request id; `after` is the id of the last run of the page before."""
        ...

    async def due(self, at: datetime, limit: int) -> list[Run]:
        """List queued runs whose deferral or placement deadline is over by then, the most overdue first."""
        ...

    async def running(self, before: datetime, limit: int, after: str = "") -> list[Run]:
        """List runs in RUNNING that have not changed since `before`, by id; `after` is the last of the page before."""
        ...

    async def uncollected(self, before: datetime, limit: int) -> list[Run]:
        """List ended runs whose Job is not collected and that ended before then, the longest ago first."""
        ...

    async def write(self, changes: Sequence[Folded]) -> None:
        """Write each run's change whole or not at all; durably when this returns."""
        ...

    async def expect(self, partitions: Collection[Partition]) -> None:
        """Wait for these partitions: there is no watermark until each of them was advanced."""
        ...

    async def advance(self, folded: Mapping[Partition, datetime]) -> None:
        """Note that the projections have what these partitions got before these times. Never goes back."""
        ...

    async def folded(self) -> Mapping[Partition, datetime | None]:
        """Tell what each partition that is waited for was advanced to; None where it never was."""
        ...

    async def watermark(self) -> datetime | None:
        """Tell up to when the projections have everything: the least of what the partitions were advanced to."""
        ...

    async def note_contacts(self, contacts: Sequence[Contact]) -> None:
        """Note when these clusters answered, for every process. Never goes back. Kept beside the projections."""
        ...

    async def contacts(self) -> list[Contact]:
        """Tell when each cluster last answered that ever did."""
        ...

    async def note_figures(self, figures: Sequence[Figures]) -> None:
        """Note what this process knows of clusters now, in the place of what it noted before. Kept beside the projections."""
        ...

    async def figures(self) -> list[Figures]:
        """List what each process last noted of each cluster, where that is not long ago."""
        ...

    async def judged(self, verdicts: Sequence[Verdict]) -> None:
        """Note what a cluster answered about what has that digest, for every process: the last answer stands.

        Is no projection, but kept beside them.
        """
        ...

    async def verdicts(self, cluster: str) -> list[Verdict]:
        """List the last answer of this cluster about each digest, where it is less than a day old."""
        ...


class Claim(msgspec.Struct, frozen=True):
    """What an `Idempotency-Key` stands for: the request as it was resolved, and the hash of the body that made it."""

    body_hash: str
    request: bytes


class Claims(Protocol):
    """The requests that came first with an `Idempotency-Key`: the one table that is no projection."""

    async def claim(self, algorithm: str, key: str, claim: Claim) -> Claim:
        """Claim a key, and answer the claim that stands: this one, or an earlier one. Durable when it returns."""
        ...


PIECE = 8 * 1024**2
"""Bytes of a large payload that are in memory at a time, in each of a few hands."""


class StoredPayload(msgspec.Struct, frozen=True):
    """`at` is when it was last put."""

    key: str
    at: datetime


class PayloadStore(Protocol):
    """Payloads too large for the log, by the key of contract §5.3."""

    async def put(self, key: str, body: bytes) -> str:
        """Store a payload, durably when this returns; answers its unsigned address."""
        ...

    async def put_pieces(self, key: str, pieces: AsyncIterator[bytes]) -> str:
        """The same for a payload that is too large for memory. Each piece but the last has `PIECE` bytes.

        Nothing is left under the key where `pieces` raises.
        """
        ...

    async def get(self, key: str) -> bytes | None: ...

    async def part(self, key: str, start: int, size: int) -> bytes | None:
        """Read at most so many bytes from `start` on, fewer at the end; None where there is no such payload."""
        ...

    async def delete(self, key: str) -> None: ...

    async def stored(self, after: str, limit: int) -> list[StoredPayload]:
        """List what lies beyond that key, other people's things as well: by algorithm, and by id within each.

        At most `limit`, and at least one while there is any. The key of `~` is beyond all ids of its algorithm.
        """
        ...


class PayloadUrls(Protocol):
    """Addresses from which an algorithm reads its payload without credentials of its own."""

    async def url(self, request: RunRequested, now: datetime, beyond: timedelta) -> str:
        """Sign an address that is valid for as long as the request asked for, counted from `beyond` on."""
        ...


class Templates(Protocol):
    """The algorithms and workgroups that are deployed, as they are now. InvalidInput is raised for what is broken."""

    def names(self) -> list[str]:
        """Name the algorithms that can be run."""
        ...

    def template(self, name: str) -> Template | None: ...

    def workgroup(self, name: str) -> Workgroup | None: ...

    def unreadable(self) -> Sequence[InvalidInput]:
        """List what is deployed and cannot be read: it may hold names that are not known."""
        ...

    async def watch(self) -> None:
        """Follow what is deployed until cancelled."""
        ...


class TokenSource(Protocol):
    """Who vouches for the subjects of one kind of bearer token."""

    remembered: bool
    """Whether a proof may be believed for a minute without another look."""

    def knows(self, token: str) -> bool:
        """Tell whether the token looks like one of this source; nothing is proved by that."""
        ...

    async def prove(self, token: str) -> Proof:
        """Tell whose token it is. Raises Unauthenticated, or Unavailable where that cannot be told now."""
        ...


class Created(msgspec.Struct, frozen=True):
    """A Job that exists: created now (`fresh`), or found under the same name."""

    job: JobView
    fresh: bool


class Change(msgspec.Struct, frozen=True):
    """One step of a watch: the object as it is now, or as it last was before it was deleted."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    object: JobView | PodView


class Listed(msgspec.Struct, frozen=True):
    """Everything of ours on a cluster, the first step of each watch: what is not in it was deleted."""

    jobs: tuple[JobView, ...]
    pods: tuple[PodView, ...]


class Cluster(Protocol):
    """One execution cluster. Jobs and pods are in the shape of the Kubernetes API on every adapter."""

    name: str

    async def identity(self) -> str:
        """Tell this cluster from another that got its name: the uid of kube-system. Raises `Unavailable`."""
        ...

    async def create(self, job: Mapping[str, Any]) -> Created:
        """Create the Job, or find the one that has its name (`fresh` is False).

        Raises `Refused`, `Unavailable`, or `OutcomeUnknown` where the answer was lost.
        """
        ...

    async def judge(self, job: Mapping[str, Any]) -> None:
        """Raise `Refused` where a create of this Job would, or would drop a member. Creates nothing."""
        ...

    async def version(self) -> str:
        """Tell the version of what judges Jobs here: another version may judge otherwise."""
        ...

    async def get(self, name: str) -> JobView | None: ...

    async def pods(self, job: str) -> Sequence[PodView]: ...

    async def delete(self, name: str, uid: str, policy: DeletionPolicy) -> bool:
        """Delete the Job of that name and uid, its pods, and what it owns by the policy; False when it is not there."""
        ...

    async def log_tail(self, pod: str, limit: int) -> str:
        """Read at most the last `limit` bytes that the algorithm's container wrote; empty when there are none. They begin with a
        line, or with a character where lines are long.
        """
        ...

    async def events(self, job: str) -> Sequence[str]:
        """List the cluster's events about the Job and its pods, oldest first, as `reason: message`."""
        ...

    def watch(self) -> AsyncGenerator[Listed | Change]:
        """List everything, then follow every change after that.

        Changes of one object come in order; those of a Job and of its pods may overtake each other. Ends where it
        cannot go on without a gap: watch again, which lists again.
        """
        ...


class Leadership(Protocol):
    """The right to do a work that one process at a time may do."""

    async def lead(self, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        """Wait for the right, and do the work while it lasts; then wait again. Returns when the work has returned.

        The work is given the number of this term, greater than that of any before. It is cancelled, and has ended,
        before another process may begin, and before this raises or returns.
        """
        ...


class ObjectChange(NamedTuple):
    """One step of an object: as it is now, or as it last was before it went."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object


class Objects(Protocol):
    """What is described in one namespace of a cluster: templates, workgroups, Secrets and ConfigMaps.

    Every method raises Unavailable; those that write, Refused as well.
    """

    name: str

    async def identity(self) -> str:
        """What tells this cluster from any other: the uid of kube-system."""
        ...

    def watch(self, kind: str) -> AsyncGenerator[list[Object] | list[ObjectChange]]:
        """All of a kind, first thing; then every change, some at a time, and none as a sign of life.

        Ends where it cannot go on without a gap. Raises NotFound where the cluster does not know the kind.
        """
        ...

    async def apply(self, write: Apply) -> Object | None:
        """The copy as it is then. None where it is another by now, or was to be made and is there: that is left as it was."""
        ...

    async def delete(self, key: Key, uid: str) -> None:
        """That very object, if it is still there."""
        ...

    async def set_finalizers(self, key: Key, found: Object, finalizers: Sequence[str]) -> Object | None:
        """Of the object as it was found; None where it is another by now."""
        ...

    async def set_status(self, key: Key, found: Object, status: Status) -> Object | None:
        """Of that very object; None where it is gone."""
        ...

    async def record(self, key: Key, about: Object, notice: Notice, at: datetime) -> None:
        """As an Event. What is said again of the same version of an object is one Event."""
        ...
