"""What came of the accepted runs, read from outside."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from tests.chaos.load import ALGORITHM, Sent
from tests.e2e.installation import Algorithms, Installation

__all__ = ["Outcome", "outcome"]


class Outcome(msgspec.Struct):
    """Ids of accepted runs; the last four must be empty.

    `doubled`: in more than one Job, announced as more than one end, or made twice under one `Idempotency-Key`.
    `silent`: not ended, ended without a reason, or not announced. `lost`: no row, not in the log, another payload than was sent, or
    a row that is no fold of the log. `left`: Jobs that are still on the cluster.
    """

    accepted: int
    ended: collections.Counter[str]
    doubled: set[str]
    silent: set[str]
    lost: set[str]
    left: set[str]

    @property
    def clean(self) -> bool:
        return not (self.doubled or self.silent or self.lost or self.left)

    def __str__(self) -> str:
        stages = ", ".join(f"{count} {stage}" for stage, count in sorted(self.ended.items()))
        bad = {
            name: len(ids) for name in ("doubled", "silent", "lost", "left") for ids in [getattr(self, name)]
        }
        figures = "  ".join(f"{name} {count}" for name, count in bad.items())
        lines = [f"accepted {self.accepted}  ended {self.ended.total()} ({stages})  {figures}"]
        lines += [
            f"  {name}: {', '.join(sorted(getattr(self, name))[:10])}" for name, count in bad.items() if count
        ]
        return "\n".join(lines)


async def outcome(nexus: Installation, algorithms: Algorithms, accepted: Mapping[str, Sent]) -> Outcome:
    """To be asked once nothing is going on any more."""
    rows = {run["requestId"]: run async for run in nexus.all_runs()}
    requested, jobs = _log(nexus)
    said = _announced(nexus)
    differing = json.loads(nexus.must("verify", "--json"))["differences"]
    found = Outcome(len(accepted), collections.Counter(), set(), set(), set(), set())
    for run in accepted:
        row = rows.get(run)
        if row is None or run not in requested:
            found.lost.add(run)
        elif row["state"] != "ended" or not _reason(row) or run not in said:
            found.silent.add(run)
        else:
            found.ended[row["stage"]] += 1
    found.lost |= {difference["requestId"] for difference in differing}
    found.lost |= await _other_payloads(nexus, accepted)
    for shown in (jobs, algorithms.pods, said):
        found.doubled |= {run for run, several in shown.items() if len(several) > 1}
    found.doubled |= _made_twice(accepted, requested)
    found.left = {
        run for run, row in rows.items() if row["jobUid"] and not row["collectedAt"] and not row["dryRun"]
    }
    return found


def _reason(row: Mapping[str, Any]) -> bool:
    return row["stage"] == "COMPLETED" or bool(row["diagnosis"] and row["diagnosis"]["cause"])


def _log(nexus: Installation) -> tuple[dict[str, str], dict[str, set[str]]]:
    """The runs that were requested, with the hash of their payload, and the Jobs that were made for each run."""
    requested: dict[str, str] = {}
    jobs: dict[str, set[str]] = collections.defaultdict(set)
    for line in nexus.must("replay").splitlines():
        event = json.loads(line)
        if event["type"].startswith("nexus.RunRequested"):
            requested[event["subject"]] = event["data"]["contentHash"]
        if event["type"].startswith("nexus.JobCreated"):
            jobs[event["subject"]].add(event["data"]["jobUid"])
    return requested, jobs


def _announced(nexus: Installation) -> dict[str, set[str]]:
    """The ids of the notifications of each run."""
    said: dict[str, set[str]] = collections.defaultdict(set)
    for line in nexus.must("results", "--from-beginning", "--no-follow", "--json").splitlines():
        event = json.loads(line)
        said[event["subject"]].add(event["id"])
    return said


def _made_twice(accepted: Mapping[str, Sent], requested: Mapping[str, str]) -> set[str]:
    """Every payload is one of a kind, so two runs with the same hash were made of one submission."""
    with_hash = collections.Counter(requested.values())
    return {run for run, sent in accepted.items() if sent.keyed and with_hash[requested.get(run, "")] > 1}


async def _other_payloads(nexus: Installation, accepted: Mapping[str, Sent]) -> set[str]:
    """Payloads that lie in S3, and as many that travelled in the log."""
    large = [run for run, sent in accepted.items() if sent.large]
    small = [run for run, sent in accepted.items() if not sent.large][: len(large)]
    return {run for run in (*large, *small) if not await _is_there(nexus.http, run, accepted[run])}


async def _is_there(http: httpx.AsyncClient, run: str, sent: Sent) -> bool:
    answer = await http.get(f"/algorithm/v1/payload/{ALGORITHM}/requests/{run}", follow_redirects=True)
    return answer.status_code == 200 and answer.json() == sent.parameters
