"""The rules: from what a cluster shows to a cause and a hint. The first match wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from nexus.domain.diagnosis.ending import FATAL, NO_LAUNCH, TOO_LONG, Ending
from nexus.domain.diagnosis.exits import exit_advice, exit_words, signal_of
from nexus.domain.diagnosis.placing import SLOT_HINT, lacking, no_slot, placing_advice
from nexus.domain.diagnosis.refusals import refusal_of
from nexus.domain.diagnosis.sight import Sight
from nexus.domain.events import RunDeadlineExceeded, RunFailed, RunSchedulingFailed
from nexus.domain.observed import NODE_LOST

__all__ = ["GRACES", "JOB_VANISHED", "NO_REPORT", "RULES", "Grace", "Rule"]

Grace = Literal[
    "image_name", "image_pull", "container_config", "volume_mount", "container_start", "pod_create", "quota",
    "unschedulable", "terminating",
]  # fmt: skip
GRACES: tuple[Grace, ...] = get_args(Grace)


def _nothing(_: Sight) -> str:
    return ""


class Rule(Ending, frozen=True, kw_only=True):
    """`details` adds to the Job's own words what only its pods and events tell, `advice` adds to the hint.

    With a `grace` it is also a way to hang: a run of which it has been true for so long is given up. `only_hangs`: it
    says nothing of a Job that has failed.
    """

    applies: Callable[[Sight], bool]
    details: Callable[[Sight], str] = _nothing
    advice: Callable[[Sight], str] = _nothing
    grace: Grace | None = None
    only_hangs: bool = False


def _waits(*reasons: str) -> Callable[[Sight], bool]:
    return lambda sight: sight.waits is not None and sight.waits.reason in reasons


def _wait(sight: Sight) -> str:
    if sight.waits:
        return f"{sight.waits.reason}: {sight.waits.message}"
    return sight.trouble or sight.unplaced or (sight.last.status.message if sight.last else "")


def _exit(sight: Sight) -> str:
    return exit_words(sight.end)


def _exit_advice(sight: Sight) -> str:
    return exit_advice(sight.end)


def _stuck(sight: Sight) -> bool:
    """It does not start now, or never did until its deadline."""
    return (
        not sight.started if not sight.reason else sight.reason == "DeadlineExceeded" and sight.never_started
    )


def _refused_as(*categories: str) -> Callable[[Sight], bool]:
    return lambda sight: (
        not sight.alive
        and sight.refused != ""
        and _stuck(sight)
        and (not categories or refusal_of(sight.refused).category in categories)
    )


def _lacked(sight: Sight) -> str:
    what = lacking(sight.unplaced)
    lacked = f"What lacked: {', '.join(what)}." if what else ""
    return "\n".join(filter(None, (lacked, sight.unplaced or "No scheduler has looked at its pod yet.")))


_REJECTED = (
    "OutOf",
    "NodeAffinity",
    "NodeShutdown",
    "PodOSNotSupported",
    "TaintToleration",
    "TopologyAffinityError",
    "UnexpectedAdmissionError",
)
"""How the reasons begin for which a kubelet does not admit a pod."""

RULES: tuple[Rule, ...] = (
    Rule(
        category="ImageName",
        when="the name of the image is no name of an image",
        ends_as=RunSchedulingFailed,
        applies=_waits("InvalidImageName"),
        cause=NO_LAUNCH,
        details=_wait,
        hint="Correct container.registry, image and versionTag: together they are registry/image:versionTag.",
        grace="image_name",
    ),
    Rule(
        category="ImagePull",
        when="the image cannot be pulled",
        ends_as=RunSchedulingFailed,
        applies=_waits(
            "ErrImagePull",
            "ImagePullBackOff",
            "ErrImageNeverPull",
            "RegistryUnavailable",
            "ImageInspectError",
            "SignatureValidationFailed",
        ),
        cause=NO_LAUNCH,
        details=_wait,
        hint="Check that container.registry, image and versionTag name an image that the cluster may pull.",
        grace="image_pull",
    ),
    Rule(
        category="ContainerConfig",
        when="a secret, a config map or a key that the container's environment names is missing, or the container "
        "cannot be created for another reason",
        ends_as=RunSchedulingFailed,
        applies=_waits("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
        cause=NO_LAUNCH,
        details=_wait,
        hint="Check that the secrets, config maps and keys that the template names exist in the runtime namespace.",
        grace="container_config",
    ),
    Rule(
        category="VolumeMount",
        when="a volume cannot be attached or mounted: its secret, config map or claim is missing, or its storage "
        "is away",
        ends_as=RunSchedulingFailed,
        applies=lambda sight: sight.placed and _stuck(sight) and sight.unmounted != "",
        cause=NO_LAUNCH,
        details=lambda sight: sight.unmounted,
        hint="Check that the secrets, config maps and claims in the template's mounts exist in the runtime namespace.",
        grace="volume_mount",
    ),
    Rule(
        category="CommandNotStarted",
        when="the command could not be started",
        ends_as=RunSchedulingFailed,
        applies=lambda sight: sight.end is not None and not sight.end.ran,
        cause=NO_LAUNCH,
        details=_exit,
        hint="Check the template's command: the program must exist in the image and be executable.",
    ),
    Rule(
        category="RejectedByNode",
        when="the node that the pod was given did not take it",
        ends_as=RunSchedulingFailed,
        applies=lambda sight: not sight.started and sight.disruption.startswith(_REJECTED),
        cause=NO_LAUNCH,
        details=lambda sight: f"{sight.disruption}: {sight.disrupted}",
        hint="The node had less to give than the scheduler believed: submit the run again.",
    ),
    Rule(
        category="QuotaExceeded",
        when="a resource quota of the namespace leaves no room for the Job's pod",
        ends_as=RunSchedulingFailed,
        applies=_refused_as("QuotaExceeded"),
        cause=NO_LAUNCH,
        details=lambda sight: sight.refused,
        hint="Lower the requests in computeResources, wait until others have ended, or raise the namespace's quota.",
        grace="quota",
    ),
    Rule(
        category="AdmissionDenied",
        when="an admission webhook or policy of the cluster denied the Job's pod",
        ends_as=RunSchedulingFailed,
        applies=_refused_as("AdmissionDenied"),
        cause=NO_LAUNCH,
        details=lambda sight: sight.refused,
        hint="Read the policy's reason; correct the template, or ask who runs the policy for an exception.",
        grace="pod_create",
    ),
    Rule(
        category="PodsRefused",
        when="the Job's controller can make no pod for any other reason, such as a service account that is missing",
        ends_as=RunSchedulingFailed,
        applies=_refused_as(),
        cause=NO_LAUNCH,
        details=lambda sight: sight.refused,
        hint="Correct what the API server names, in the template or in the runtime namespace.",
        advice=lambda sight: refusal_of(sight.refused).hint,
        grace="pod_create",
    ),
    Rule(
        category="NoPod",
        when="the Job has no pod, and nobody says why",
        ends_as=RunSchedulingFailed,
        applies=lambda sight: not sight.pods and not sight.events and _stuck(sight),
        cause=NO_LAUNCH,
        details=lambda _: "The Job's controller has made no pod, and said nothing.",
        hint="Check that the cluster's controller manager runs.",
        grace="pod_create",
    ),
    Rule(
        category="NotPlaced",
        when="every slot of the embedded cluster is taken",
        ends_as=RunSchedulingFailed,
        applies=lambda sight: (
            sight.last is not None and not sight.placed and _stuck(sight) and no_slot(sight.unplaced)
        ),
        cause=NO_LAUNCH,
        details=_lacked,
        hint=SLOT_HINT,
        grace="unschedulable",
    ),
    Rule(
        category="NotPlaced",
        when="no node takes the pod",
        ends_as=RunSchedulingFailed,
        applies=lambda sight: sight.last is not None and not sight.placed and _stuck(sight),
        cause=NO_LAUNCH,
        details=_lacked,
        hint="Check that a node has room for the requests and is allowed by the workgroup's affinity and tolerations.",
        advice=lambda sight: placing_advice(sight.unplaced),
        grace="unschedulable",
    ),
    Rule(
        category="NodeLost",
        when="the pod's node cannot be reached any more, and its pod cannot end",
        ends_as=RunFailed,
        applies=lambda sight: sight.alive and sight.deleted and sight.disruption in NODE_LOST,
        cause=FATAL.format("its node was lost."),
        details=lambda sight: sight.disrupted,
        hint="Submit the run again; bring the node back, or delete it from the cluster.",
        grace="terminating",
        only_hangs=True,
    ),
    Rule(
        category="StuckTerminating",
        when="the pod was deleted and does not end",
        ends_as=RunFailed,
        applies=lambda sight: sight.alive and sight.deleted,
        cause=FATAL.format("its pod was deleted and did not end."),
        details=lambda sight: sight.disrupted,
        hint="Look at the pod's finalizers and at its node; find out who deletes pods in the runtime namespace.",
        grace="terminating",
        only_hangs=True,
    ),
    Rule(
        category="NotStarted",
        when="the pod has its node, and its container does not start: an image that is large, a network that is "
        "not there, or a reason that Nexus does not know",
        ends_as=RunSchedulingFailed,
        applies=lambda sight: _stuck(sight) and (sight.reason != "" or sight.alive),
        cause=NO_LAUNCH,
        details=lambda sight: _wait(sight) or "No container had started, and nobody said why.",
        hint="See the cluster's last words in the details; look at the node, its network and its runtime.",
        grace="container_start",
    ),
    Rule(
        category="TransientUntilDeadline",
        when="the deadline passed while the algorithm kept ending with an exit code that the template lists as "
        "transient",
        ends_as=RunDeadlineExceeded,
        applies=lambda sight: (
            sight.reason == "DeadlineExceeded"
            and any(pod.terminated and pod.terminated.exit_code in sight.transient for pod in sight.pods)
        ),
        cause=TOO_LONG,
        details=lambda sight: f"{len(sight.pods)} attempts were seen.\n{_exit(sight)}",
        hint="What the algorithm waits for did not come back: see the log. Transient exit codes are tried again until "
        "the deadline.",
    ),
    Rule(
        category="DeadlineExceeded",
        when="the deadline passed while the algorithm ran",
        ends_as=RunDeadlineExceeded,
        applies=lambda sight: sight.reason == "DeadlineExceeded",
        cause=TOO_LONG,
        details=lambda sight: "" if sight.started else _wait(sight),
        hint="Raise runtimeEnvironment.deadlineSeconds, or give the algorithm less to do.",
    ),
    Rule(
        category="OutOfMemory",
        when="the container used more memory than its limit",
        ends_as=RunFailed,
        applies=lambda sight: sight.end is not None and sight.end.reason == "OOMKilled",
        cause=FATAL.format("the container ran out of memory."),
        details=_exit,
        hint="Raise the memory limit in computeResources, or give the algorithm less to hold at once.",
    ),
    Rule(
        category="FatalExitCode",
        when="the algorithm ended with an exit code that the template lists as fatal",
        ends_as=RunFailed,
        applies=lambda sight: sight.reason == "PodFailurePolicy",
        cause=FATAL.format("Algorithm encountered a fatal error during execution."),
        details=_exit,
        hint="The exit code is one that the template lists as fatal: see the log for what the algorithm met.",
    ),
    Rule(
        category="Preempted",
        when="its pod had to make room for one of a higher priority, and no retry was left",
        ends_as=RunFailed,
        applies=lambda sight: sight.disruption in {"PreemptionByScheduler", "Preempting", "Preempted"},
        cause=FATAL.format("its pod made room for one of a higher priority."),
        details=lambda sight: sight.disrupted,
        hint="Submit the run again; if it happens often, give the algorithm nodes or a priority of its own.",
    ),
    Rule(
        category="NodeLost",
        when="its node failed or was removed, and no retry was left",
        ends_as=RunFailed,
        applies=lambda sight: (
            sight.disruption in NODE_LOST
            or (sight.end is not None and sight.end.reason == "ContainerStatusUnknown")
        ),
        cause=FATAL.format("its node was lost."),
        details=lambda sight: sight.disrupted,
        hint="Submit the run again; bring the node back, or delete it from the cluster.",
    ),
    Rule(
        category="Evicted",
        when="its pod was taken from its node, which was short of something or was drained, and no retry was left",
        ends_as=RunFailed,
        applies=lambda sight: sight.disruption not in {"", "DeadlineExceeded"},
        cause=FATAL.format("its pod was taken from its node."),
        details=lambda sight: sight.disrupted,
        hint="Submit the run again; if it happens often, look at the node's resources and the pod's priority.",
    ),
    Rule(
        category="PodDeleted",
        when="somebody deleted its pod, and no retry was left",
        ends_as=RunFailed,
        applies=lambda sight: sight.deleted,
        cause=FATAL.format("its pod was deleted by somebody."),
        details=_exit,
        hint="Find out who deletes pods in the runtime namespace; to end a run, cancel it through Nexus.",
    ),
    Rule(
        category="KilledBySignal",
        when="a signal ended the algorithm, and no retry was left",
        ends_as=RunFailed,
        applies=lambda sight: signal_of(sight.end) is not None,
        cause=FATAL.format("it was ended by a signal."),
        details=_exit,
        hint="See the details for the signal, and the log for what the algorithm did.",
        advice=_exit_advice,
    ),
    Rule(
        category="RetriesExhausted",
        when="the algorithm failed, and failed again, until no retry was left",
        ends_as=RunFailed,
        applies=lambda sight: sight.reason == "BackoffLimitExceeded",
        cause="Algorithm failed and has no retries left.",
        details=_exit,
        hint="See the log for why it failed; raise runtimeEnvironment.maximumRetries only if it may succeed later.",
        advice=_exit_advice,
    ),
    Rule(
        category="Other",
        when="the Job failed for a reason that Nexus does not know",
        ends_as=RunFailed,
        applies=lambda sight: sight.reason != "",
        cause=FATAL.format("the cluster gave up on its Job."),
        details=_exit,
        hint="See the details for the cluster's own reason.",
    ),
)

NO_REPORT = Ending(
    category="NoReport",
    when="the Job completed, and the algorithm reported nothing",
    ends_as=RunFailed,
    cause="Algorithm finished without reporting a result.",
    hint="Report the result to the receiver, and wait for its answer, before the process exits.",
)

JOB_VANISHED = Ending(
    category="JobVanished",
    when="somebody deleted the Job",
    ends_as=RunFailed,
    cause="Algorithm's Job was deleted from its cluster before the run had ended.",
    hint="Find out who deletes Jobs in the runtime namespace; to end a run, cancel it through Nexus.",
)
