"""One Job in the adapter's memory: what was asked for, what its owner last wrote, and how the port shows both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from nexus.domain.observed import JobStatus, JobView, Metadata, PodView
from nexus.embedded.cluster.job_table import Stored
from nexus.embedded.cluster.local_job import ALGORITHM_LABEL, Job, parse
from nexus.embedded.cluster.status import State
from nexus.ports import Change

__all__ = ["KnownJob"]


ChangeKind = Literal["ADDED", "MODIFIED", "DELETED"]


class _Shown(msgspec.Struct):
    job: JobStatus
    pods: tuple[PodView, ...]


_decoder = msgspec.json.Decoder(_Shown)


class KnownJob:
    """`versions` gives resource versions, always rising; the methods return what changed for a watcher."""

    def __init__(self, stored: Stored, manifest: Job, versions: Iterator[int]) -> None:
        self.stored = stored
        self.manifest = manifest
        self.job = JobView(metadata=self._metadata(), status=JobStatus())
        self.pods: tuple[PodView, ...] = ()
        self._bare: tuple[PodView, ...] = ()
        self.launched_at: float | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.removal: asyncio.Task[None] | None = None
        self._versions = versions
        self._raw = b""

    @property
    def name(self) -> str:
        return self.manifest.metadata.name

    @property
    def uid(self) -> str:
        return self.stored.uid

    @property
    def written(self) -> bool:
        """Whether an owner ever wrote the state."""
        return bool(self._raw)

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    @property
    def algorithm(self) -> str:
        return self.manifest.metadata.labels.get(ALGORITHM_LABEL, "")

    @property
    def deadline(self) -> datetime | None:
        seconds = self.manifest.spec.active_deadline_seconds
        return None if seconds is None else self.created + timedelta(seconds=seconds)

    @property
    def created(self) -> datetime:
        return datetime.fromisoformat(self.stored.created).astimezone(UTC)

    @property
    def owners(self) -> frozenset[str]:
        """The uids of the Jobs that it goes with; none when something else holds it as well."""
        references = self.manifest.metadata.owner_references
        if any(reference.kind != "Job" for reference in references):
            return frozenset()
        return frozenset(reference.uid for reference in references)

    def show(self, state: State | bytes) -> list[Change]:
        """What the owner wrote last; an end of the Job comes after those of its pods, from which it follows."""
        if isinstance(state, bytes):
            if state == self._raw:
                return []
            self._raw = state
            shown = _decoder.decode(state)
        else:
            shown = msgspec.convert(state, _Shown)
        changes = self._show_pods(shown.pods)
        if not self.job.metadata.resource_version:
            changes.insert(0, self._show_job("ADDED", self.job.metadata, shown.job))
        elif shown.job != self.job.status:
            changes.append(self._show_job("MODIFIED", self.job.metadata, shown.job))
        return changes

    def replace(self, stored: Stored) -> list[Change]:
        """Another manifest for the same Job."""
        self.stored, self.manifest = stored, parse(stored.job)
        return [self._show_job("MODIFIED", self._metadata(), self.job.status)]

    def terminate(self, at: datetime) -> list[Change]:
        """The Job is being deleted: it has a moment to live."""
        metadata = msgspec.structs.replace(self.job.metadata, deletion_timestamp=at)
        return [self._show_job("MODIFIED", metadata, self.job.status)]

    def gone(self) -> list[Change]:
        return [*(Change("DELETED", pod) for pod in self.pods), Change("DELETED", self.job)]

    def _show_job(self, kind: ChangeKind, metadata: Metadata, status: JobStatus) -> Change:
        self.job = JobView(metadata=self._versioned(metadata), status=status)
        return Change(kind, self.job)

    def _show_pods(self, bare: tuple[PodView, ...]) -> list[Change]:
        before = {was.metadata.name: (was, view) for was, view in zip(self._bare, self.pods, strict=True)}
        changes: list[Change] = []
        views = []
        for pod in bare:
            was, view = before.pop(pod.metadata.name, (None, pod))
            if was != pod:
                view = msgspec.structs.replace(pod, metadata=self._versioned(pod.metadata))
                changes.append(Change("ADDED" if was is None else "MODIFIED", view))
            views.append(view)
        changes += [Change("DELETED", view) for _, view in before.values()]
        self._bare, self.pods = bare, tuple(views)
        return changes

    def _versioned(self, metadata: Metadata) -> Metadata:
        return msgspec.structs.replace(metadata, resource_version=str(next(self._versions)))

    def _metadata(self) -> Metadata:
        return msgspec.structs.replace(
            self.manifest.metadata, uid=self.uid, creation_timestamp=self.created, deletion_timestamp=None
        )
