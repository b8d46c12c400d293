"""The golden files: one record of every event as it was released, its body and its headers.

`python -m tests.unit.golden_files` writes the missing ones. Those that are there are never written again: they stand
for what lies in the logs of installations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import msgspec

from nexus.domain.events import (
    ClusterCordoned,
    ClusterUncordoned,
    DeadLettered,
    Diagnosis,
    Event,
    Evidence,
    EvidenceRecorded,
    JobCollected,
    OrphanCollected,
    Parent,
    PayloadCollected,
    RunDeadlineExceeded,
    RunDeferred,
    RunEnded,
    RunFailed,
    RunRequeued,
    RunResumed,
    RunSchedulingFailed,
    RunStalled,
    RunStarted,
    RunTagged,
)
from nexus.domain.observed import Waiting
from nexus.domain.template import AlgorithmSpec, algorithm_spec
from nexus.domain.topics import to_record
from tests.support.factories import (
    ALGORITHM,
    CLUSTER,
    REQUEST_ID,
    after,
    cancelled,
    completed,
    fact,
    job_created,
    job_view,
    pod_view,
    run_observed,
    run_requested,
    workgroup,
)

__all__ = ["FOLDER", "KINDS", "PAYLOAD", "SAMPLES", "body_of", "full_spec", "headers_of", "released"]

FOLDER = Path(__file__).parent / "golden"
KINDS = {kind.__name__: kind for kind in get_args(Event)}

PAYLOAD = (
    b'{ "big": 12345678901234567890123,\t"exact":1.0, "twice": 1, "twice": 2, "\\u00e9<&>": "\xc3\xa9 \\/" }'
)
"""What any decoding and encoding again would change."""


def full_spec() -> AlgorithmSpec:
    """Every member of contract §3 in one specification."""
    return algorithm_spec(
        {
            "container": {
                "image": "algorithms/hello",
                "registry": "registry.example.com",
                "versionTag": "v1",
                "serviceAccountName": "runner",
            },
            "command": "python main.py",
            "args": ["--sas-uri=%s", "--request-id=%s"],
            "computeResources": {
                "cpuLimit": "2",
                "memoryLimit": "4Gi",
                "customResources": {"nvidia.com/gpu": "1"},
                "limits": {"cpu": "2000m", "memory": "4Gi"},
                "requests": {"cpu": "1", "memory": "2Gi"},
                "defaultResourceQuota": "0.5",
            },
            "workgroupRef": {
                "name": "default",
                "group": "science.sneaksanddata.com/v1",
                "kind": "NexusAlgorithmWorkgroup",
            },
            "runtimeEnvironment": {
                "environmentVariables": [{"name": "MODE", "value": "fast"}],
                "mappedEnvironmentVariables": [{"secretRef": {"name": "credentials"}}],
                "annotations": {"example.com/team": "routing"},
                "deadlineSeconds": 3600,
                "maximumRetries": 3,
                "configurationFileMounts": {"settings": {"name": "settings", "mountPath": "/etc/settings"}},
                "secretFileMounts": {"keys": {"name": "keys", "mountPath": "/etc/keys", "readOnly": True}},
                "storageMounts": {"emptyDir": {"name": "scratch", "mountPath": "/scratch"}},
            },
            "errorHandlingBehaviour": {"transientExitCodes": [75], "fatalExitCodes": [42, 43]},
            "datadogIntegrationSettings": {"mountDatadogSocket": True},
            "payloadConfiguration": {"payloadValidFor": "12h", "payloadSerializationMode": "backend"},
        },
        "spec",
    )


_PARENT = Parent(request_id="019b7c9e-6c2e-7000-8000-00000000000f", algorithm_name="parent-algorithm")
_POD = pod_view(
    creationTimestamp="2026-01-02T03:04:07Z",
    labels={"batch.kubernetes.io/job-name": REQUEST_ID},
    status={
        "phase": "Failed",
        "reason": "Evicted",
        "message": "The node was low on resource: memory.",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}],
        "startTime": "2026-01-02T03:04:08Z",
        "containerStatuses": [
            {
                "name": REQUEST_ID,
                "restartCount": 1,
                "state": {
                    "terminated": {
                        "exitCode": 137,
                        "reason": "Error",
                        "message": "killed",
                        "signal": 9,
                        "startedAt": "2026-01-02T03:04:09Z",
                        "finishedAt": "2026-01-02T03:04:10Z",
                    }
                },
            }
        ],
    },
)
_JOB = job_view(
    resourceVersion="42",
    creationTimestamp="2026-01-02T03:04:06Z",
    labels={"science.sneaksanddata.com/algorithm-template-name": ALGORITHM},
    ownerReferences=[
        {"apiVersion": "batch/v1", "kind": "Job", "name": _PARENT.request_id, "uid": "parent-uid"}
    ],
    status={
        "failed": 1,
        "startTime": "2026-01-02T03:04:06Z",
        "conditions": [
            {
                "type": "Failed",
                "status": "True",
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
                "lastTransitionTime": "2026-01-02T03:04:11Z",
            }
        ],
    },
)
_EVIDENCE = Evidence(pods=(_POD,), events=("Killing: Stopping container",), log_tail="boom\n", note="cut")
_DIAGNOSIS = Diagnosis(category="Other", cause="It failed.", details="exit code 1", hint="See the log.")

SAMPLES: dict[str, Event] = {
    type(event).__name__: event
    for event in (
        run_requested(
            payload=PAYLOAD,
            spec=full_spec(),
            placement=workgroup(
                capabilities={"gpu": True},
                tolerations=[{"key": "gpu", "operator": "Exists"}],
                affinity={"nodeAffinity": {}},
            ).spec,
            overrides=algorithm_spec({"container": {"versionTag": "v2"}}, ""),
            tag="a tag",
            parent=_PARENT,
            api_version="1.2",
            dry_run=True,
        ),
        job_created(),
        fact(RunStarted, started_at=after(2), pod="pod-1"),
        fact(RunStalled, diagnosis=_DIAGNOSIS),
        fact(RunResumed),
        fact(RunDeferred, attempt=1, until=after(60), reason="the cluster answered 403: quota"),
        fact(RunRequeued, attempt=1),
        fact(RunTagged, tag="another tag"),
        completed(job_uid="dry-run"),
        fact(RunFailed, diagnosis=_DIAGNOSIS, evidence=_EVIDENCE),
        fact(RunDeadlineExceeded, diagnosis=_DIAGNOSIS, evidence=_EVIDENCE),
        fact(RunSchedulingFailed, diagnosis=_DIAGNOSIS, evidence=_EVIDENCE),
        cancelled(policy="Foreground"),
        fact(EvidenceRecorded, evidence=_EVIDENCE),
        fact(JobCollected, job_uid="job-uid", by="other"),
        fact(
            OrphanCollected,
            job_uid="job-uid",
            cluster=CLUSTER,
            cluster_id="cluster-uid",
            because="there is no run of its name",
            confirmed=True,
            evidence=_EVIDENCE,
        ),
        fact(
            PayloadCollected,
            key=f"algorithm={ALGORITHM}/{REQUEST_ID}",
            because="its run has ended",
            confirmed=True,
        ),
        run_observed(_POD, job=_JOB, waited=Waiting(reason="ErrImagePull", message="not found"), gone=True),
        RunEnded(
            request_id=REQUEST_ID,
            algorithm=ALGORITHM,
            at=after(9),
            status="FAILED",
            result_uri="s3://results/1",
            run_error_message="It failed.",
            tag="a tag",
            parent=_PARENT,
        ),
        DeadLettered(
            request_id=REQUEST_ID,
            algorithm=ALGORITHM,
            at=after(9),
            topic=f"nexus.requests.{CLUSTER}",
            partition=3,
            offset=17,
            reason="JSON is malformed",
            record=b"\x00\xff{",
        ),
        ClusterCordoned(
            cluster=CLUSTER, at=after(10), subject="user:anna@example.com", reason="upgrade of its nodes"
        ),
        ClusterUncordoned(
            cluster=CLUSTER, at=after(11), subject="user:anna@example.com", reason="it is done"
        ),
    )
}
"""One of each type, every field of it set."""


def released() -> list[str]:
    """The names of the golden files, such as `JobCreated.v1`."""
    return sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.v*.json"))


def body_of(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes().removesuffix(b"\n")


def headers_of(name: str) -> dict[str, str]:
    return msgspec.json.decode((FOLDER / f"{name}.headers").read_bytes(), type=dict[str, str])


def _write_missing() -> None:
    for kind, event in SAMPLES.items():
        name = f"{kind}.v{event.version}"
        path = FOLDER / f"{name}.json"
        if not path.exists():
            record = to_record(event, "nexus/golden")
            path.write_bytes(record.value + b"\n")
            (FOLDER / f"{name}.headers").write_text(json.dumps(record.headers, indent=2) + "\n")
            print(f"wrote {path}")


if __name__ == "__main__":
    _write_missing()
