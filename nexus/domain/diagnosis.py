"""Why a Job failed: a table of rules from what the cluster shows to a stage, a cause and a hint. The first match wins.

The wording of the causes is that of contract §2 where it has one: clients compare it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from nexus.domain.events import (
    Diagnosis,
    Evidence,
    RunDeadlineExceeded,
    RunFailed,
    RunObserved,
    RunSchedulingFailed,
)
from nexus.domain.observed import Condition, Terminated
from nexus.domain.run import Run

__all__ = ["RULES", "Failure", "Rule", "diagnose", "silent", "vanished"]

Failure = RunFailed | RunDeadlineExceeded | RunSchedulingFailed

_LAUNCH = "Algorithm submission was buffered, but failed to launch on the target cluster: {}"
_NO_LAUNCH = _LAUNCH.format(
    "Unable to launch a container for the algorithm - please review configuration and try again."
)
_FATAL = "Algorithm encountered a fatal error during execution: {}"
_TOO_LONG = "Algorithm exceeded its max allowed run time limit or retry attempt count."


class Sight(msgspec.Struct, frozen=True):
    """What the rules look at: the reason and message of the Job's `Failed` condition, and what the last pod shows.

    `unplaced` is why no node took it, `disrupted` why it was taken from its node.
    """

    reason: str
    message: str
    started: bool
    end: Terminated | None
    waited: str
    wait_message: str
    pod_reason: str
    pod_message: str
    unplaced: str
    disrupted: str


class Rule(msgspec.Struct, frozen=True):
    """One way to fail. `details` adds to the cluster's own words what only the pod knows."""

    category: str
    ends_as: type[Failure]
    applies: Callable[[Sight], bool]
    cause: str
    details: Callable[[Sight], str]
    hint: str


def _waited(*reasons: str) -> Callable[[Sight], bool]:
    return lambda sight: not sight.started and sight.waited in reasons


def _exit(sight: Sight) -> str:
    if sight.end is None:
        return ""
    said = f": {sight.end.message.strip()}" if sight.end.message.strip() else ""
    return f"The last container ended with exit code {sight.end.exit_code} ({sight.end.reason}){said}"


def _wait(sight: Sight) -> str:
    return f"{sight.waited}: {sight.wait_message}" if sight.waited else sight.unplaced or sight.pod_message


RULES: tuple[Rule, ...] = (
    Rule(
        "ImagePull",
        RunSchedulingFailed,
        _waited(
            "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"
        ),
        _NO_LAUNCH,
        _wait,
        "Check that container.registry, image and versionTag name an image that the cluster may pull.",
    ),
    Rule(
        "ContainerConfig",
        RunSchedulingFailed,
        _waited("CreateContainerConfigError", "CreateContainerError"),
        _NO_LAUNCH,
        _wait,
        "Check that the secrets, config maps and keys that the template names exist in the runtime namespace.",
    ),
    Rule(
        "CommandNotStarted",
        RunSchedulingFailed,
        lambda sight: sight.end is not None and not sight.end.ran,
        _NO_LAUNCH,
        _exit,
        "Check the template's command: the program must exist in the image and be executable.",
    ),
    Rule(
        "NotPlaced",
        RunSchedulingFailed,
        lambda sight: sight.reason == "DeadlineExceeded" and not sight.started,
        _NO_LAUNCH,
        lambda sight: _wait(sight) or "No container had started when the deadline passed.",
        "Check that a node has room for the requests and is allowed by the workgroup's affinity and tolerations.",
    ),
    Rule(
        "DeadlineExceeded",
        RunDeadlineExceeded,
        lambda sight: sight.reason == "DeadlineExceeded",
        _TOO_LONG,
        lambda _: "",
        "Raise runtimeEnvironment.deadlineSeconds, or give the algorithm less to do.",
    ),
    Rule(
        "OutOfMemory",
        RunFailed,
        lambda sight: sight.end is not None and sight.end.reason == "OOMKilled",
        _FATAL.format("the container ran out of memory."),
        _exit,
        "Raise the memory limit in computeResources, or give the algorithm less to hold at once.",
    ),
    Rule(
        "FatalExitCode",
        RunFailed,
        lambda sight: sight.reason == "PodFailurePolicy",
        _FATAL.format("Algorithm encountered a fatal error during execution."),
        _exit,
        "The exit code is one that the template lists as fatal: see the log for what the algorithm met.",
    ),
    Rule(
        "Evicted",
        RunFailed,
        lambda sight: bool(sight.disrupted) or sight.pod_reason in {"Evicted", "NodeLost", "Preempted"},
        _FATAL.format("its pod was taken from its node."),
        lambda sight: sight.pod_message or sight.disrupted,
        "Submit the run again; if it happens often, look at the node's resources and the pod's priority.",
    ),
    Rule(
        "RetriesExhausted",
        RunFailed,
        lambda sight: sight.reason == "BackoffLimitExceeded",
        "Algorithm failed and has no retries left.",
        _exit,
        "See the log for why it failed; raise runtimeEnvironment.maximumRetries only if it may succeed later.",
    ),
    Rule(
        "Other",
        RunFailed,
        lambda _: True,
        _FATAL.format("the cluster gave up on its Job."),
        _exit,
        "See the details for the cluster's own reason.",
    ),
)


def diagnose(run: Run, observed: RunObserved, evidence: Evidence, at: datetime) -> Failure:
    """The fact that ends a run whose Job has the condition `Failed`."""
    sight = _sight(observed)
    rule = next(rule for rule in RULES if rule.applies(sight))
    details = "\n".join(part for part in (sight.message, rule.details(sight)) if part)
    return rule.ends_as(
        request_id=run.id,
        algorithm=run.request.algorithm,
        at=at,
        diagnosis=Diagnosis(category=rule.category, cause=rule.cause, details=details, hint=rule.hint),
        evidence=evidence,
    )


def silent(run: Run, evidence: Evidence, at: datetime) -> RunFailed:
    """The Job completed and the algorithm reported nothing."""
    diagnosis = Diagnosis(
        category="NoReport",
        cause="Algorithm finished without reporting a result.",
        details="Its Job completed with exit code 0, and the receiver was told nothing.",
        hint="Report the result to the receiver, and wait for its answer, before the process exits.",
    )
    return RunFailed(
        request_id=run.id, algorithm=run.request.algorithm, at=at, diagnosis=diagnosis, evidence=evidence
    )


def vanished(run: Run, evidence: Evidence, at: datetime) -> RunFailed:
    """The Job is gone and nobody ended the run."""
    diagnosis = Diagnosis(
        category="JobVanished",
        cause="Algorithm's Job was deleted from its cluster before the run had ended.",
        details=f"Job {run.id} (uid {run.job_uid}) is not on cluster {run.request.cluster} any more.",
        hint="Find out who deletes Jobs in the runtime namespace; to end a run, cancel it through Nexus.",
    )
    return RunFailed(
        request_id=run.id, algorithm=run.request.algorithm, at=at, diagnosis=diagnosis, evidence=evidence
    )


def _sight(observed: RunObserved) -> Sight:
    condition = (
        (observed.job.condition("Failed") or observed.job.condition("FailureTarget"))
        if observed.job
        else None
    )
    last = observed.pods[-1] if observed.pods else None
    return Sight(
        reason=condition.reason if condition else "",
        message=condition.message if condition else "",
        started=any(pod.started_at for pod in observed.pods),
        end=last.terminated if last else None,
        waited=observed.waited.reason if observed.waited else "",
        wait_message=observed.waited.message if observed.waited else "",
        pod_reason=last.status.reason if last else "",
        pod_message=last.status.message if last else "",
        unplaced=_words(last.unschedulable if last else None),
        disrupted=_words(last.disruption if last else None),
    )


def _words(condition: Condition | None) -> str:
    return ": ".join(filter(None, (condition.reason, condition.message))) if condition else ""
