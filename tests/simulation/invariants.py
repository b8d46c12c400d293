"""What must hold in every simulation, said without the code that it is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import msgspec

from nexus.domain.access import token_holder
from nexus.domain.observed import JobView
from nexus.domain.payload import payload_key
from nexus.domain.run import DRY_RUN, Run
from nexus.domain.topics import DEAD_LETTERS, REQUESTS, RESULTS, RUNS
from nexus.ports import Partition, Record
from tests.simulation.clients import Clients
from tests.simulation.cluster import Making, is_a_run
from tests.simulation.installation import Installation
from tests.simulation.kubelet import STOLEN
from tests.simulation.tenants import TENANTS

__all__ = ["TERMINAL", "Invariants"]

TERMINAL = {
    "RunCompleted": "COMPLETED",
    "RunFailed": "FAILED",
    "RunDeadlineExceeded": "DEADLINE_EXCEEDED",
    "RunSchedulingFailed": "SCHEDULING_FAILED",
    "RunCancelled": "CANCELLED",
}


_SWEPT = {"OrphanCollected", "PayloadCollected"}
"""What the sweeper says may be about a run that is not there."""

_FRESH = 1.0
"""Seconds for which a row may be trusted before the Job is created."""


def kind(record: Record) -> str:
    return record.headers["ce_type"].split(".")[1]


class Invariants:
    """`broken` says what did not hold. Some are looked at as things happen, the others once nothing happens any more."""

    def __init__(self, installation: Installation) -> None:
        self._there = installation
        self.broken: list[str] = []
        self._folded: Counter[Partition] = Counter()
        """How far each partition was found to be in the projections."""
        installation.projections.advanced = self._look_at_watermark
        installation.projections.contradicted = self._look_at_contradiction
        installation.log.arrivals[self] = self._look_at_verdicts
        self._looked_at: Counter[Partition] = Counter()
        for site in installation.sites.values():
            self._watch_deletions(site.model)

    # As things happen

    def _look_at_watermark(self, folded: Mapping[Partition, datetime]) -> None:
        for partition, until in folded.items():
            lying = self._there.log.partitions[partition]
            limit = until.timestamp()
            at = self._folded[partition]
            while at < len(lying) and lying[at].timestamp < limit:
                if not self._is_folded(lying[at]):
                    self._say(
                        "watermark",
                        f"{partition} was advanced beyond its record {at}, {kind(lying[at])} of {lying[at].key}, "
                        "which is not folded",
                    )
                    return
                at += 1
            self._folded[partition] = at

    def _is_folded(self, record: Record) -> bool:
        row = self._there.projections.rows.get(record.key)
        if record.position.topic.startswith(REQUESTS):
            return row is not None
        if row is None and kind(record) in _SWEPT:
            return True
        if row is not None:
            return row.position >= record.position.offset
        return any(letter.position.topic == DEAD_LETTERS for letter in self._there.log.of_key[record.key])

    def _watch_deletions(self, model) -> None:
        remove = model.remove

        def watched(name, uid, policy):
            if (job := model.job(name)) and job.metadata.uid == uid:
                self._look_at_deletion(name, job)
            return remove(name, uid, policy)

        model.remove = watched

    def _look_at_deletion(self, name: str, job: JobView) -> None:
        row = self._there.projections.rows.get(name)
        if not is_a_run(job):
            self._say("somebody else's Job", f"the Job {name}, which was made by somebody else, was deleted")
        elif row is None or not row.ended:
            self._say("tombstone", f"the Job of {name} was deleted before the end of its run was in its row")
        elif row.stage != "COMPLETED" and not any(map(_has_evidence, self._facts(name))):
            self._say(
                "evidence", f"the Job of {name} ({row.stage}) was deleted and nothing of it is in the log"
            )

    def _look_at_contradiction(self, one: Run, other: Run) -> None:
        self._say(
            "a projection is a fold",
            f"two ledgers made different rows of {one.id} at {one.position}: {one}, {other}",
        )

    def _look_at_verdicts(self) -> None:
        """Whenever something was appended: nobody may say of a Job that it vanished while it is there."""
        for at, lying in self._there.log.partitions.items():
            if at.topic != RUNS:
                continue
            for record in lying[self._looked_at[at] :]:
                if b"JobVanished" in record.value:
                    self._look_at_verdict(record.key)
            self._looked_at[at] = len(lying)

    def _look_at_verdict(self, run: str) -> None:
        row = self._there.projections.rows.get(run)
        for site in self._there.sites.values():
            if row and (job := site.model.job(run)) and job.metadata.uid == row.job_uid:
                self._say("blind is not dead", f"the Job of {run} was said to be gone, and is there")

    # At the end

    def unfinished(self) -> list[str]:
        """What still has to happen before nothing happens any more."""
        there = self._there
        left = []
        for run in self._requested():
            row = there.projections.rows.get(run)
            if row is None:
                left.append(f"{run} has no row")
            elif not row.ended:
                left.append(f"{run} has not ended: {row.state}")
            elif row.has_job and row.request.cluster != there.lost:
                left.append(f"{run} ended as {row.stage}, and its Job is not collected")
            elif not any(record.position.topic == RESULTS for record in there.log.of_key[run]):
                left.append(f"{run} ended as {row.stage}, and was not announced")
        left += self._left_over()
        for name, group in there.groups.all.items():
            for at, offset in group.committed.items():
                # A scheduler that starts anew waits until its cluster is there.
                waits = bool(there.lost) and name.endswith(f"scheduler-{there.lost}")
                if not waits and (end := len(there.log.partitions[at])) > offset:
                    left.append(f"{name} is at {offset} of {end} of {at.topic} [{at.number}]")
        return left

    def check(self, clients: Clients) -> None:
        for lie in clients.lies:
            self._say("truth", lie)
        for death in self._there.died:
            self._say("no role dies of itself", death)
        for run, algorithm in clients.accepted.items():
            if run not in self._requested():
                self._say("accepted means durable", f"{run} was answered 202, and is not in the log")
            elif any(whose != _whose(clients.holders[run]) for whose in self._tenants_of(run)):
                self._say("tenants", f"{run} of {clients.holders[run]} is said to be another tenant's")
            elif run in clients.sent and not self._has_payload(run, algorithm, clients.sent[run]):
                self._say("accepted means durable", f"the payload of {run} is not as it was sent")
        for run in self._requested():
            self._check_run(run)
        for site in self._there.sites.values():
            for run, makings in site.makings.items():
                self._check_makings(run, makings)
        for job in self._left_over():
            self._say("nothing is left", job)

    def _check_makings(self, run: str, makings: list[Making]) -> None:
        """A second Job can only come of what was on its way when the first went: that cannot be called back."""
        for name, _, row, age in makings:
            if name != run:
                self._say("one Job", f"the Job of {run} was named {name}")
            if row is None or row.ended or row.job_uid:
                self._say("one Job", f"a Job of {run} was made although its row forbade it")
            elif age > _FRESH:
                self._say("one Job", f"a Job of {run} was made by a row that was {age:.1f} s old")

    def _check_run(self, run: str) -> None:
        facts = self._facts(run)
        row = self._there.projections.rows.get(run)
        if row is None:
            self._say("no run is silent", f"{run} has no row")
            return
        made = {making.uid for site in self._there.sites.values() for making in site.makings.get(run, [])}
        if row.job_uid not in {"", DRY_RUN, *made}:
            self._say(
                "somebody else's Job", f"{row.job_uid} is said to be the Job of {run}, and was not made by us"
            )
        if any(kind(fact) == "RunCompleted" and STOLEN.encode() in fact.value for fact in facts):
            self._say("nobody ends another's run", f"{run} was reported for by another")
        own = [fact for fact in facts if _algorithm(fact) == row.request.algorithm]
        first = next((fact for fact in own if kind(fact) in TERMINAL), None)
        if first is None:
            self._say("no run is silent", f"{run} has not ended: {row.state}")
            return
        if (row.stage, row.ended_by) != (TERMINAL[kind(first)], first.headers["ce_id"]):
            self._say(
                "first terminal fact",
                f"{run} ended by {kind(first)} at {first.position.offset}, its row says {row.stage}",
            )
        announced = [record for record in self._there.log.of_key[run] if record.position.topic == RESULTS]
        if not announced:
            self._say("announced", f"the end of {run} was never announced")
        elif len({record.headers["ce_id"] for record in announced}) > 1:
            self._say("announced", f"the end of {run} was announced under several ids")
        history = self._there.projections.history(run)
        if missing := {fact.headers["ce_id"] for fact in facts} - {entry.event_id for entry in history}:
            self._say("no fact is lost", f"{len(missing)} facts of {run} are not in its history")

    def _has_payload(self, run: str, algorithm: str, sent: bytes) -> bool:
        """As it was sent, unless it was removed because its time was over."""
        if any(kind(fact) == "PayloadCollected" for fact in self._facts(run)):
            return self._there.projections.rows[run].ended
        body, _ = self._there.payloads.get(payload_key(algorithm, run), (None, None))
        return self._there.projections.payloads.get(run, body) == sent

    def _left_over(self) -> list[str]:
        return [
            f"{site.model.name} still has the Job of {name}"
            for site in self._there.sites.values()
            for name, job in site.model.jobs.items()
            if is_a_run(job) and site.model.name != self._there.lost
        ]

    def _requested(self) -> list[str]:
        return [
            key
            for key, records in self._there.log.of_key.items()
            if any(record.position.topic.startswith(REQUESTS) for record in records)
        ]

    def _tenants_of(self, run: str) -> list[tuple[str, int]]:
        """As each record of its request says, and its row."""
        said = [
            msgspec.json.decode(record.value)
            for record in self._there.log.of_key[run]
            if record.position.topic.startswith(REQUESTS)
        ]
        row = self._there.projections.rows.get(run)
        of_row = [(row.request.tenant, row.request.weight)] if row else []
        return [*of_row, *((each.get("tenant", ""), each.get("weight", 1)) for each in said)]

    def _facts(self, run: str) -> list[Record]:
        facts = [record for record in self._there.log.of_key[run] if record.position.topic == RUNS]
        return sorted(facts, key=lambda record: record.position.offset)

    def _say(self, law: str, what: str) -> None:
        self.broken.append(f"{law}: {what}")


def _whose(holder: str) -> tuple[str, int]:
    tenant = TENANTS.of(token_holder(holder))
    return tenant.name, tenant.weight


def _algorithm(record: Record) -> str:
    return str(msgspec.json.decode(record.value)["algorithm"])


def _has_evidence(record: Record) -> bool:
    return "evidence" in msgspec.json.decode(record.value)
