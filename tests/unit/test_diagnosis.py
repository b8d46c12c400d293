"""The histories are those that list+watch of a real API server (Kubernetes 1.37) showed, by the name of the recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nexus.domain.diagnosis import RULES, diagnose, silent, vanished
from nexus.domain.events import Evidence, RunObserved
from nexus.domain.observed import JobView, PodView, Waiting
from nexus.domain.run import Stage, fold
from tests.factories import CLUSTER, REQUEST_ID, after, folded, job_created, job_view, pod_view, run_observed

BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")
POLICY = (
    "PodFailurePolicy",
    "Container main for pod default/pfp42-rsg7c failed with exit code 42 matching FailJob rule at index 0",
)

NO_LAUNCH = (
    "Algorithm submission was buffered, but failed to launch on the target cluster: "
    "Unable to launch a container for the algorithm - please review configuration and try again."
)
FATAL = "Algorithm encountered a fatal error during execution: Algorithm encountered a fatal error during execution."
TOO_LONG = "Algorithm exceeded its max allowed run time limit or retry attempt count."

START, END = "2026-11-23T14:13:11Z", "2026-11-23T14:13:12Z"


def job(*conditions: tuple[str, tuple[str, str]], **status: Any) -> JobView:
    listed = [
        {"type": kind, "status": "True", "reason": reason, "message": message}
        for kind, (reason, message) in conditions
    ]
    return job_view(status={"startTime": START, "conditions": listed} | status)


def failed_job(why: tuple[str, str], failed: int = 1) -> JobView:
    """As it stays: the target of the failure is set first, the failure once all pods are counted."""
    return job(("FailureTarget", why), ("Failed", why), failed=failed)


def pod(
    state: Mapping[str, Any] | None = None, *, name: str = "pod-1", phase: str = "Failed", **status: Any
) -> PodView:
    statuses = [{"name": "main", "state": state}] if state else []
    return pod_view(name, status={"phase": phase, "startTime": START, "containerStatuses": statuses} | status)


def terminated(code: int, reason: str = "Error", **members: Any) -> dict[str, Any]:
    return {
        "terminated": {"exitCode": code, "reason": reason, "startedAt": START, "finishedAt": END} | members
    }


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"conditions": [condition]}


RUNNING = {"running": {"startedAt": START}}
STOPPED = terminated(143)
NEVER_RAN = {"terminated": {"exitCode": 143, "reason": "Error", "finishedAt": END}}
"""What becomes of a container that was waiting when its pod was deleted: an end without a start."""

STOPPED_WHILE_WAITING = pod(STOPPED, startTime=None)
"""What a cluster without kubelets makes of it: an end and a start, of a pod that was never taken up."""
UNPLACED = pod(
    phase="Pending",
    startTime=None,
    conditions=[
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available.",
        }
    ],
)
TAINTED = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")

PULL = Waiting(reason="ImagePullBackOff", message="Back-off pulling image")
CONFIG = Waiting(reason="CreateContainerConfigError", message='secret "absent" not found')
EVICTED = {"reason": "Evicted", "message": "The node was low on resource: memory."}

HISTORIES = [
    ("fail1", run_observed(pod(terminated(1, message="boom")), job=failed_job(BACKOFF)), "RetriesExhausted"),
    (
        "fail-b1",
        run_observed(
            pod(terminated(1), name="w7xk5"),
            pod(terminated(1), name="nx5km"),
            job=failed_job(BACKOFF, failed=2),
        ),
        "RetriesExhausted",
    ),
    ("pfp42", run_observed(pod(terminated(42)), job=failed_job(POLICY)), "FatalExitCode"),
    ("pfp-other", run_observed(pod(terminated(7)), job=failed_job(BACKOFF)), "RetriesExhausted"),
    ("oom", run_observed(pod(terminated(137, "OOMKilled")), job=failed_job(BACKOFF)), "OutOfMemory"),
    (
        "evict0",
        run_observed(
            pod(terminated(137), **EVICTED, **disrupted("TerminationByKubelet")), job=failed_job(BACKOFF)
        ),
        "Evicted",
    ),
    ("imgpull", run_observed(pod(NEVER_RAN), job=failed_job(DEADLINE), waited=PULL), "ImagePull"),
    ("cfgerr", run_observed(pod(NEVER_RAN), job=failed_job(DEADLINE), waited=CONFIG), "ContainerConfig"),
    (
        "imgpull, without a kubelet",
        run_observed(STOPPED_WHILE_WAITING, job=failed_job(DEADLINE), waited=PULL),
        "ImagePull",
    ),
    ("hang", run_observed(pod(STOPPED), job=failed_job(DEADLINE)), "DeadlineExceeded"),
    ("hang-pfp", run_observed(pod(STOPPED), job=failed_job(DEADLINE)), "DeadlineExceeded"),
    ("unsched", run_observed(UNPLACED, job=failed_job(DEADLINE)), "NotPlaced"),
    (
        "nodenotready",
        run_observed(pod(STOPPED, **disrupted(*TAINTED)), job=failed_job(BACKOFF)),
        "Evicted",
    ),
    (
        "nodegone",
        run_observed(pod(RUNNING, **disrupted("DeletionByPodGC")), job=failed_job(BACKOFF)),
        "Evicted",
    ),
    ("stock-del", run_observed(pod(RUNNING, phase="Running"), job=failed_job(DEADLINE)), "DeadlineExceeded"),
    (
        "stock-del-pfp",
        run_observed(pod(RUNNING, phase="Running"), job=failed_job(DEADLINE)),
        "DeadlineExceeded",
    ),
    ("mine-podkill-pfp", run_observed(pod(STOPPED), job=failed_job(BACKOFF)), "RetriesExhausted"),
    ("mine-podkill", run_observed(pod(STOPPED), job=failed_job(BACKOFF)), "RetriesExhausted"),
]

UNRECORDED = [
    (
        "command not found",
        run_observed(
            pod(
                terminated(128, "StartError", message="exec: no such file", startedAt="1970-01-01T00:00:00Z")
            ),
            job=failed_job(BACKOFF),
        ),
        "CommandNotStarted",
    ),
    (
        "command not executable",
        run_observed(pod(terminated(126, "ContainerCannotRun")), job=failed_job(BACKOFF)),
        "CommandNotStarted",
    ),
    ("no pod at all", run_observed(job=failed_job(DEADLINE)), "NotPlaced"),
    ("pods refused", run_observed(job=failed_job(("BackoffLimitExceeded", "forbidden"))), "RetriesExhausted"),
    (
        "pulled in the end",
        run_observed(pod(terminated(137, "OOMKilled")), job=failed_job(BACKOFF), waited=PULL),
        "OutOfMemory",
    ),
    (
        "ran out of memory with a fatal code",
        run_observed(pod(terminated(137, "OOMKilled")), job=failed_job(POLICY)),
        "OutOfMemory",
    ),
    (
        "a reason of a newer Kubernetes",
        run_observed(job=failed_job(("MaxFailedIndexesExceeded", "x"))),
        "Other",
    ),
    (
        "only the target of the failure is seen",
        run_observed(pod(STOPPED), job=job(("FailureTarget", DEADLINE))),
        "DeadlineExceeded",
    ),
    ("an unknown node's pod", run_observed(pod(reason="NodeLost"), job=failed_job(BACKOFF)), "Evicted"),
    *(
        (
            f"waits for {reason}",
            run_observed(job=failed_job(DEADLINE), waited=Waiting(reason=reason)),
            category,
        )
        for reason, category in (
            ("ErrImagePull", "ImagePull"),
            ("InvalidImageName", "ImagePull"),
            ("ErrImageNeverPull", "ImagePull"),
            ("RegistryUnavailable", "ImagePull"),
            ("CreateContainerError", "ContainerConfig"),
        )
    ),
]

ENDS = {
    "ImagePull": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "ContainerConfig": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "CommandNotStarted": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "NotPlaced": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "DeadlineExceeded": (Stage.DEADLINE_EXCEEDED, TOO_LONG),
    "OutOfMemory": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: the container ran out of memory.",
    ),
    "FatalExitCode": (Stage.FAILED, FATAL),
    "Evicted": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: its pod was taken from its node.",
    ),
    "RetriesExhausted": (Stage.FAILED, "Algorithm failed and has no retries left."),
    "Other": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: the cluster gave up on its Job.",
    ),
}
"""Stage and cause by category; the causes are those of contract §2 where it has one."""


@pytest.mark.parametrize(
    ("observed", "category"),
    [pytest.param(seen, category, id=name) for name, seen, category in HISTORIES + UNRECORDED],
)
def test_what_the_cluster_shows_has_its_stage_and_cause(observed, category):
    run = folded(job_created())
    evidence = Evidence(pods=observed.pods, log_tail="boom")
    end = diagnose(run, observed, evidence, after(9))
    stage, cause = ENDS[category]
    assert (end.diagnosis.category, end.diagnosis.cause) == (category, cause)
    assert fold(run, end, 1).stage == stage
    assert (end.request_id, end.algorithm, end.at, end.evidence) == (
        REQUEST_ID,
        "hello-world",
        after(9),
        evidence,
    )
    assert end.diagnosis.hint


def test_every_rule_is_met_by_a_history():
    assert (
        {category for *_, category in HISTORIES + UNRECORDED}
        == {rule.category for rule in RULES}
        == ENDS.keys()
    )


def details(name: str) -> list[str]:
    observed: RunObserved = next(seen for each, seen, _ in HISTORIES + UNRECORDED if each == name)
    return diagnose(folded(job_created()), observed, Evidence(), after(9)).diagnosis.details.splitlines()


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("fail1", [BACKOFF[1], "The last container ended with exit code 1 (Error): boom"]),
        ("fail-b1", [BACKOFF[1], "The last container ended with exit code 1 (Error)"]),
        ("pfp42", [POLICY[1], "The last container ended with exit code 42 (Error)"]),
        ("oom", [BACKOFF[1], "The last container ended with exit code 137 (OOMKilled)"]),
        ("evict0", [BACKOFF[1], EVICTED["message"]]),
        ("imgpull", [DEADLINE[1], "ImagePullBackOff: Back-off pulling image"]),
        ("cfgerr", [DEADLINE[1], 'CreateContainerConfigError: secret "absent" not found']),
        ("hang", [DEADLINE[1]]),
        ("unsched", [DEADLINE[1], "Unschedulable: 0/1 nodes are available."]),
        ("no pod at all", [DEADLINE[1], "No container had started when the deadline passed."]),
        ("nodenotready", [BACKOFF[1], ": ".join(TAINTED)]),
        ("nodegone", [BACKOFF[1], "DeletionByPodGC"]),
        (
            "command not found",
            [BACKOFF[1], "The last container ended with exit code 128 (StartError): exec: no such file"],
        ),
        ("a reason of a newer Kubernetes", ["x"]),
    ],
)
def test_the_details_are_the_cluster_s_own_words_and_what_the_pod_knows(name, lines):
    assert details(name) == lines


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(
            job(active=1), id="evict-ign, nodenotready-ign, nodelost, nodelost-pfp, stock-podkill-pfp"
        ),
        pytest.param(job(("FailureTarget", BACKOFF)), id="the failure is not yet final"),
        pytest.param(job(("SuccessCriteriaMet", ("CompletionsReached", ""))), id="nor is the success"),
        pytest.param(job_view(status={"conditions": [{"type": "Failed", "status": "False"}]}), id="not true"),
        pytest.param(job_view(), id="fresh"),
    ],
)
def test_a_job_that_goes_on_has_not_ended(view):
    assert not view.ended


def test_a_job_ends_complete_or_failed():
    assert failed_job(BACKOFF).ended
    assert job(("Complete", ("CompletionsReached", ""))).ended


# --- what a pod shows


@pytest.mark.parametrize(
    ("state", "started"),
    [
        (RUNNING, True),
        (terminated(0, "Completed"), True),
        (terminated(1), True),
        (NEVER_RAN, False),
        (terminated(128, "StartError"), False),
        (terminated(127, "ContainerCannotRun"), False),
        ({"waiting": {"reason": "ContainerCreating"}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_pod_has_started_once_its_container_ran(state, started):
    assert (pod(state).started_at is not None) is started


def test_an_end_of_a_pod_that_no_kubelet_took_up_is_no_start():
    assert STOPPED_WHILE_WAITING.started_at is None
    assert pod(RUNNING, startTime=None).started_at is not None


def test_a_container_that_was_restarted_started_when_it_first_ran():
    statuses = [
        {"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": terminated(1)}
    ]
    view = pod_view(status={"startTime": START, "containerStatuses": statuses})
    assert view.started_at is not None


def test_an_init_container_that_waits_is_seen():
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}
    view = pod_view(status={"initContainerStatuses": [waiting], "containerStatuses": []})
    assert view.waiting == Waiting(reason="ErrImagePull", message="no")
    assert pod(RUNNING).waiting is None


# --- ends without a failed Job


def test_a_job_that_completes_without_a_report_is_a_failure_with_a_cause_of_its_own():
    run = folded(job_created())
    end = silent(run, Evidence(log_tail="done"), after(9))
    assert end.diagnosis.category == "NoReport"
    assert end.diagnosis.cause == "Algorithm finished without reporting a result."
    assert "exit code 0" in end.diagnosis.details
    assert (fold(run, end, 1).stage, end.evidence) == (Stage.FAILED, Evidence(log_tail="done"))


def test_a_job_that_vanished_is_named_with_its_uid_and_cluster():
    run = folded(job_created(job_uid="uid-1"))
    end = vanished(run, Evidence(note="gone"), after(9))
    assert end.diagnosis.category == "JobVanished"
    assert all(word in end.diagnosis.details for word in (REQUEST_ID, "uid-1", CLUSTER))
    assert (fold(run, end, 1).stage, end.evidence) == (Stage.FAILED, Evidence(note="gone"))
