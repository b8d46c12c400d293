"""The histories are those that list+watch of a real API server (Kubernetes 1.37) showed, by the name of the recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from nexus.domain.diagnosis import (
    RULES,
    diagnose,
    explain,
    give_up,
    silent,
    stall,
    tells_all,
    vanished,
)
from nexus.domain.diagnosis.placing import lacking, placing_advice
from nexus.domain.events import Diagnosis, Evidence, RunObserved, RunStalled
from nexus.domain.observed import JobView, PodView, Waiting
from nexus.domain.run import Run, Stage, fold
from tests.support.factories import (
    CLUSTER,
    REQUEST_ID,
    after,
    algorithm,
    diagnosis,
    fact,
    folded,
    job_created,
    job_view,
    pod_view,
    run_observed,
    run_requested,
)

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


def deleted(view: PodView) -> PodView:
    return replace(view, metadata=replace(view.metadata, deletion_timestamp=after(8)))


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
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
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
        "NodeLost",
    ),
    (
        "nodegone",
        run_observed(pod(RUNNING, **disrupted("DeletionByPodGC")), job=failed_job(BACKOFF)),
        "NodeLost",
    ),
    (
        "stock-del",
        run_observed(deleted(pod(RUNNING, phase="Running")), job=failed_job(DEADLINE)),
        "DeadlineExceeded",
    ),
    (
        "stock-del-pfp",
        run_observed(pod(RUNNING, phase="Running"), job=failed_job(DEADLINE)),
        "DeadlineExceeded",
    ),
    ("mine-podkill-pfp", run_observed(deleted(pod(STOPPED)), job=failed_job(BACKOFF)), "PodDeleted"),
    ("mine-podkill", run_observed(deleted(pod(STOPPED)), job=failed_job(BACKOFF)), "PodDeleted"),
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
    ("no pod at all", run_observed(job=failed_job(DEADLINE)), "NoPod"),
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
    ("an unknown node's pod", run_observed(pod(reason="NodeLost"), job=failed_job(BACKOFF)), "NodeLost"),
    ("a crash", run_observed(pod(terminated(139)), job=failed_job(BACKOFF)), "KilledBySignal"),
    (
        "preempted",
        run_observed(deleted(pod(STOPPED, **disrupted("PreemptionByScheduler"))), job=failed_job(BACKOFF)),
        "Preempted",
    ),
    (
        "transient until the deadline",
        run_observed(pod(terminated(75), name="one"), pod(STOPPED), job=failed_job(DEADLINE)),
        "TransientUntilDeadline",
    ),
    (
        "rejected by its node",
        run_observed(pod(startTime=None, reason="OutOfcpu", message="no cpu"), job=failed_job(BACKOFF)),
        "RejectedByNode",
    ),
    (
        "created and not started",
        run_observed(pod({"waiting": {"reason": "ContainerCreating"}}), job=failed_job(DEADLINE)),
        "NotStarted",
    ),
    *(
        (
            f"waits for {reason}",
            run_observed(job=failed_job(DEADLINE), waited=Waiting(reason=reason)),
            category,
        )
        for reason, category in (
            ("ErrImagePull", "ImagePull"),
            ("InvalidImageName", "ImageName"),
            ("ErrImageNeverPull", "ImagePull"),
            ("RegistryUnavailable", "ImagePull"),
            ("CreateContainerError", "ContainerConfig"),
        )
    ),
]

ENDS = {
    "ImagePull": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "ContainerConfig": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "ImageName": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "VolumeMount": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "RejectedByNode": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "QuotaExceeded": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "AdmissionDenied": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "PodsRefused": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "NoPod": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "NotStarted": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "CommandNotStarted": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "NotPlaced": (Stage.SCHEDULING_FAILED, NO_LAUNCH),
    "DeadlineExceeded": (Stage.DEADLINE_EXCEEDED, TOO_LONG),
    "TransientUntilDeadline": (Stage.DEADLINE_EXCEEDED, TOO_LONG),
    "OutOfMemory": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: the container ran out of memory.",
    ),
    "FatalExitCode": (Stage.FAILED, FATAL),
    "Evicted": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: its pod was taken from its node.",
    ),
    "NodeLost": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: its node was lost.",
    ),
    "StuckTerminating": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: its pod was deleted and did not end.",
    ),
    "Preempted": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: its pod made room for one of a higher priority.",
    ),
    "PodDeleted": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: its pod was deleted by somebody.",
    ),
    "KilledBySignal": (
        Stage.FAILED,
        "Algorithm encountered a fatal error during execution: it was ended by a signal.",
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
    run = run_of()
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


def test_every_rule_is_met():
    met = {category for *_, category in HISTORIES + UNRECORDED}
    met |= {category for *_, category in TOLD_BY_EVENTS}
    met |= {category for *_, category in HANGS if category}
    assert met == {rule.category for rule in RULES} == ENDS.keys()


def run_of(**members: Any) -> Run:
    """A run whose template lists 75 as transient."""
    spec = algorithm(errorHandlingBehaviour={"transientExitCodes": [75]})
    return folded(job_created(), request=run_requested(spec=spec))


def told(name: str) -> Diagnosis:
    observed: RunObserved = next(seen for each, seen, _ in HISTORIES + UNRECORDED if each == name)
    return diagnose(run_of(), observed, Evidence(), after(9)).diagnosis


def details(name: str) -> list[str]:
    return told(name).details.splitlines()


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
        (
            "unsched",
            [DEADLINE[1], "What lacked: cpu.", "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."],
        ),
        ("no pod at all", [DEADLINE[1], "The Job's controller has made no pod, and said nothing."]),
        ("created and not started", [DEADLINE[1], "No container had started, and nobody said why."]),
        (
            "a crash",
            [
                BACKOFF[1],
                (
                    "The last container ended with exit code 139 (Error, SIGSEGV: an invalid memory reference; "
                    "or it is the program's own exit code)"
                ),
            ],
        ),
        ("rejected by its node", [BACKOFF[1], "OutOfcpu: no cpu"]),
        (
            "transient until the deadline",
            [
                DEADLINE[1],
                "2 attempts were seen.",
                (
                    "The last container ended with exit code 143 (Error, SIGTERM: it was asked to stop; "
                    "or it is the program's own exit code)"
                ),
            ],
        ),
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


@pytest.mark.parametrize("code", [137, 143])
def test_an_exit_code_that_is_known_to_be_its_own_is_no_signal(code):
    seen = run_observed(pod(terminated(code, signal=0)), job=failed_job(BACKOFF))
    end = diagnose(run_of(), seen, Evidence(pods=seen.pods), after(9))
    assert end.diagnosis.category == "RetriesExhausted"
    assert f"exit code {code} (Error)" in end.diagnosis.details
    assert "SIG" not in end.diagnosis.details


def test_a_signal_that_is_known_is_told_without_a_doubt():
    seen = run_observed(pod(terminated(137, signal=9)), job=failed_job(BACKOFF))
    end = diagnose(run_of(), seen, Evidence(pods=seen.pods), after(9))
    assert end.diagnosis.category == "KilledBySignal"
    assert "exit code 137 (Error, SIGKILL: it was killed)" in end.diagnosis.details


# --- what only the cluster's events tell

QUOTA = (
    'FailedCreate: Error creating: pods "x-" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, '
    "limited: pods=0"
)
WEBHOOK = (
    'FailedCreate: Error creating: admission webhook "deny.example.test" denied the request: not on Fridays'
)
ACCOUNT = 'FailedCreate: Error creating: pods "x-" is forbidden: error looking up service account: serviceaccount "a" not found'
MADE = "SuccessfulCreate: Created pod: x-1"
UNMOUNTED = 'FailedMount: MountVolume.SetUp failed for volume "keys" : secret "keys" not found'
SANDBOX = "FailedCreatePodSandBox: Failed to create pod sandbox: no more addresses"
CREATING = pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending")

TOLD_BY_EVENTS = [
    ("quota", (), (QUOTA,), "QuotaExceeded"),
    ("webhook", (), (WEBHOOK,), "AdmissionDenied"),
    ("service account", (), (ACCOUNT,), "PodsRefused"),
    ("volume", (CREATING,), (MADE, "Scheduled: x-1", UNMOUNTED), "VolumeMount"),
    ("sandbox", (CREATING,), (MADE, SANDBOX), "NotStarted"),
    ("mounted at last", (CREATING,), (MADE, UNMOUNTED, "Pulling: Pulling image"), "NotStarted"),
]


@pytest.mark.parametrize(
    ("pods", "events", "category"), [pytest.param(*rest, id=name) for name, *rest in TOLD_BY_EVENTS]
)
def test_what_only_events_tell_is_found_at_the_deadline_and_while_it_hangs(pods, events, category):
    observed = run_observed(*pods, job=failed_job(DEADLINE))
    end = diagnose(run_of(), observed, Evidence(events=events), after(9))
    assert end.diagnosis.category == category
    assert events[-1].partition(": ")[2] in end.diagnosis.details
    assert not tells_all(pods)
    assert stall(run_of(), job(), pods, events).diagnosis.category == category


# --- what hangs

LOST = deleted(pod(RUNNING, phase="Running", **disrupted("DeletionByTaintManager")))
WAITING_FOR = {
    "ImageName": "InvalidImageName",
    "ImagePull": "ImagePullBackOff",
    "ContainerConfig": "CreateContainerConfigError",
}

HANGS = [
    *(
        (category, (pod({"waiting": {"reason": reason}}, phase="Pending"),), category)
        for category, reason in WAITING_FOR.items()
    ),
    ("unplaced", (UNPLACED,), "NotPlaced"),
    ("not looked at", (pod(phase="Pending", startTime=None),), "NotPlaced"),
    ("no pod", (), "NoPod"),
    ("starting", (CREATING,), "NotStarted"),
    ("an unknown reason", (pod({"waiting": {"reason": "New"}}, phase="Pending"),), "NotStarted"),
    ("lost node", (LOST,), "NodeLost"),
    ("finalizer", (deleted(pod(RUNNING, phase="Running")),), "StuckTerminating"),
    ("runs", (pod(RUNNING, phase="Running"),), None),
    ("between two attempts", (pod(terminated(1)),), None),
    ("the second attempt hangs", (pod(terminated(1)), replace(CREATING)), "NotStarted"),
]


@pytest.mark.parametrize(("pods", "category"), [pytest.param(*rest, id=name) for name, *rest in HANGS])
def test_a_job_that_hangs_is_told_from_one_that_goes_on(pods, category):
    found = stall(run_of(), job(active=1), pods, ())
    assert (found.diagnosis.category if found else None) == category
    assert found is None or found.diagnosis.hint


def test_who_waits_for_a_slot_is_told_of_slots_and_not_of_nodes():
    events = (MADE, "FailedScheduling: every slot of this cluster is taken")
    found = stall(run_of(), job(active=1), (pod(phase="Pending", startTime=None),), events)
    assert (found.diagnosis.category, found.grace) == ("NotPlaced", "unschedulable")
    assert "What lacked: a slot." in found.diagnosis.details
    assert "cluster.slots" in found.diagnosis.hint
    assert "node" not in found.diagnosis.hint


def test_who_suspended_a_job_resumes_it():
    assert stall(run_of(), job(("Suspended", ("JobSuspended", ""))), (), ()) is None


def stalled(category: str) -> Run:
    said = fact(RunStalled, 20, diagnosis=diagnosis(category=category))
    return fold(run_of(), said, 1)


def test_what_hung_for_too_long_ends_with_what_it_hung_in():
    evidence = Evidence(pods=(CREATING,), events=(MADE, UNMOUNTED))
    end = give_up(stalled("VolumeMount"), job(), [CREATING], evidence, after(900))
    assert (end.diagnosis.category, end.evidence, end.at) == ("VolumeMount", evidence, after(900))
    assert fold(run_of(), end, 1).stage is Stage.SCHEDULING_FAILED


def test_what_hangs_in_something_else_by_now_does_not_end():
    assert give_up(stalled("VolumeMount"), job(), [CREATING], Evidence(events=(MADE,)), after(900)) is None
    assert give_up(stalled("VolumeMount"), job(), [pod(RUNNING)], Evidence(), after(900)) is None
    assert give_up(run_of(), job(), [CREATING], Evidence(), after(900)) is None


@pytest.mark.parametrize(
    ("why", "category"), [(DEADLINE, "DeadlineExceeded"), (POLICY, "FatalExitCode"), (BACKOFF, "NodeLost")]
)
def test_a_job_that_failed_but_for_a_pod_that_does_not_go_has_its_own_reason(why, category):
    target = job(("FailureTarget", why))
    found = stall(run_of(), target, [LOST], ())
    end = give_up(stalled(found.diagnosis.category), target, [LOST], Evidence(), after(900))
    assert end.diagnosis.category == category


# --- what a scheduler lacked


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (
            "0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient memory. preemption: 3 Too many pods.",
            ["cpu", "memory"],
        ),
        ("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.", ["nvidia.com/gpu"]),
        (
            "1 node(s) had untolerated taint {gpu: }, 1 node(s) didn't match Pod's node affinity/selector.",
            ["a toleration of the nodes' taints", "a node that matches the affinity"],
        ),
        ('persistentvolumeclaim "data" not found', ["a volume"]),
        ("no nodes available to schedule pods", ["any node"]),
        ("0/1 nodes are available: 1 Too many pods.", ["room for one more pod"]),
        ("0/1 nodes are available: 1 node(s) were unschedulable.", ["a node that takes new pods"]),
        ("something else", []),
    ],
)
def test_what_lacked_is_read_from_the_scheduler_s_words(message, what):
    assert lacking(message) == what
    assert bool(placing_advice(message)) is bool(what)


# --- refusals


@pytest.mark.parametrize(
    ("words", "category"),
    [
        (
            'the cluster answered 422: Job.batch "x" is invalid: spec.backoffLimit: Invalid value: -1',
            "InvalidJob",
        ),
        ('the cluster answered 400: admission webhook "a.b" denied the request: no', "AdmissionDenied"),
        (
            "the cluster answered 422: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            "AdmissionDenied",
        ),
        (
            'the cluster answered 403: jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch=1',
            "QuotaExceeded",
        ),
        ('the cluster answered 500: Internal error: failed calling webhook "a.b"', "AdmissionFailed"),
        (
            'the cluster answered 403: User "nexus" cannot create resource "jobs" in API group "batch"',
            "Forbidden",
        ),
        ('the cluster answered 404: namespaces "runs" not found', "NamespaceMissing"),
        ("the cluster answered 402: pay first", "Refused"),
        ("It could not be placed. Last: no scheduler could place it: the cluster was full", "Unreachable"),
    ],
)
def test_a_refusal_is_told_by_its_words(words, category):
    told = explain(words)
    assert told.category == category
    assert (
        told.cause
        == f"Algorithm submission was buffered, but failed to launch on the target cluster: {words}"
    )
    assert told.hint


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
