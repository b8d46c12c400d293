"""Builders of the domain's values, for every kind of test: plain functions with defaults for what a test is not about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from nexus.domain.events import (
    Diagnosis,
    Fact,
    JobCreated,
    RunCancelled,
    RunCompleted,
    RunObserved,
    RunRequested,
)
from nexus.domain.observed import JobView, PodView, Waiting
from nexus.domain.payload import content_hash, payload_path
from nexus.domain.run import Run, begin, fold
from nexus.domain.template import (
    AlgorithmSpec,
    Template,
    Workgroup,
    WorkgroupSpec,
    algorithm_spec,
    workgroup_spec,
)

__all__ = [
    "ALGORITHM",
    "AT",
    "CLUSTER",
    "REQUEST_ID",
    "after",
    "algorithm",
    "cancelled",
    "completed",
    "diagnosis",
    "fact",
    "folded",
    "job_created",
    "job_view",
    "pod_view",
    "run_observed",
    "run_requested",
    "template",
    "template_spec",
    "workgroup",
]

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
REQUEST_ID = "019b7c9e-6c2e-7000-8000-000000000001"
ALGORITHM = "hello-world"
CLUSTER = "standalone"

F = TypeVar("F", bound=Fact)


def after(seconds: float) -> datetime:
    """That long after the request was made."""
    return AT + timedelta(seconds=seconds)


def template_spec(**members: Any) -> dict[str, Any]:
    """The `spec` of a manifest, the least that is valid, with these members put in or, where None, left out."""
    least = {
        "container": {"image": "algorithms/hello", "registry": "registry.example.com", "versionTag": "v1"},
        "command": "python main.py",
        "args": ["--sas-uri=%s", "--request-id=%s"],
        "workgroupRef": {"name": "default"},
    }
    return {name: value for name, value in (least | members).items() if value is not None}


def algorithm(**members: Any) -> AlgorithmSpec:
    return algorithm_spec(template_spec(**members), "spec")


def template(name: str = ALGORITHM, **members: Any) -> Template:
    return Template(name, algorithm(**members))


def workgroup(name: str = "default", **members: Any) -> Workgroup:
    return Workgroup(name, workgroup_spec({"description": "for tests", "cluster": CLUSTER} | members, "spec"))


def run_requested(
    request_id: str = REQUEST_ID, *, payload: bytes = b'{"size": 3}', at: datetime = AT, **fields: Any
) -> RunRequested:
    """A request with its payload inline. `fields` are those of the event."""
    name = fields.get("algorithm", ALGORITHM)
    defaults: dict[str, Any] = {
        "algorithm": name,
        "cluster": CLUSTER,
        "workgroup": "default",
        "spec": algorithm(),
        "placement": WorkgroupSpec(description="for tests", cluster=CLUSTER),
        "placement_deadline": at + timedelta(hours=24),
        "payload_valid_for": "24h0m0s",
        "content_hash": content_hash(payload),
        "payload_size": len(payload),
        "payload_uri": payload_path(name, request_id),
        "payload": msgspec.Raw(payload),
        "received_by": "test",
    }
    return RunRequested(request_id=request_id, at=at, **(defaults | fields))


def fact(kind: type[F], seconds: float = 1, *, request_id: str = REQUEST_ID, **fields: Any) -> F:
    """A fact of the run, said that long after the request."""
    usual: dict[str, Any] = {"request_id": request_id, "algorithm": ALGORITHM, "at": after(seconds)}
    return kind(**usual | fields)


def job_created(seconds: float = 1, **fields: Any) -> JobCreated:
    return fact(
        JobCreated,
        seconds,
        **{"job_uid": "job-uid", "cluster": CLUSTER, "cluster_id": "cluster-uid"} | fields,
    )


def completed(seconds: float = 3, **fields: Any) -> RunCompleted:
    return fact(RunCompleted, seconds, **{"result_uri": "s3://results/1"} | fields)


def cancelled(seconds: float = 3, **fields: Any) -> RunCancelled:
    return fact(RunCancelled, seconds, **{"reason": "not needed", "initiator": "me"} | fields)


def diagnosis(cause: str = "boom", **fields: Any) -> Diagnosis:
    return Diagnosis(**{"category": "Reported", "cause": cause} | fields)


def folded(*facts: Fact, request: RunRequested | None = None) -> Run:
    """The state after these facts, which lie at the positions 0, 1, 2..."""
    run = begin(request or run_requested())
    for position, each in enumerate(facts):
        run = fold(run, each, position)
    return run


def job_view(name: str = REQUEST_ID, *, status: Mapping[str, Any] | None = None, **metadata: Any) -> JobView:
    """A Job as the API shows it; `status` and `metadata` are in its JSON names."""
    return msgspec.convert(
        {"metadata": {"name": name, "uid": "job-uid"} | metadata, "status": status or {}}, JobView
    )


def pod_view(name: str = "pod-1", *, status: Mapping[str, Any] | None = None, **metadata: Any) -> PodView:
    """A pod as the API shows it; `status` and `metadata` are in its JSON names."""
    return msgspec.convert(
        {"metadata": {"name": name, "uid": f"{name}-uid"} | metadata, "status": status or {}}, PodView
    )


def run_observed(
    *pods: PodView, job: JobView | None = None, waited: Waiting | None = None, **fields: Any
) -> RunObserved:
    defaults: dict[str, Any] = {
        "request_id": REQUEST_ID,
        "algorithm": ALGORITHM,
        "at": after(5),
        "cluster": CLUSTER,
        "cluster_id": "cluster-uid",
    }
    return RunObserved(**(defaults | fields), job=job, pods=pods, waited=waited)
