"""Every way in which a Job fails or hangs, and what Nexus says of it.

They are played on a real API server (`test_failures.py`) and recorded from it (`record.py`); the recordings are replayed
without any server (`tests/streams/test_histories.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zlib import crc32

from nexus.domain.events import RunRequested
from nexus.domain.run import Stage
from tests.kubernetes.scene import Scene
from tests.streams.conftest import MATERIALIZER
from tests.support.factories import algorithm, run_requested
from tests.support.kube import SIM, played

__all__ = ["SCENARIOS", "Scenario"]

FAILED, LAUNCH, DEADLINE = Stage.FAILED, Stage.SCHEDULING_FAILED, Stage.DEADLINE_EXCEEDED

NO_LAUNCH = (
    "Algorithm submission was buffered, but failed to launch on the target cluster: "
    "Unable to launch a container for the algorithm - please review configuration and try again."
)
FATAL = "Algorithm encountered a fatal error during execution: "
TOO_LONG = "Algorithm exceeded its max allowed run time limit or retry attempt count."

CAUSES = {
    "DeadlineExceeded": TOO_LONG,
    "TransientUntilDeadline": TOO_LONG,
    "OutOfMemory": f"{FATAL}the container ran out of memory.",
    "FatalExitCode": f"{FATAL}Algorithm encountered a fatal error during execution.",
    "Preempted": f"{FATAL}its pod made room for one of a higher priority.",
    "NodeLost": f"{FATAL}its node was lost.",
    "Evicted": f"{FATAL}its pod was taken from its node.",
    "PodDeleted": f"{FATAL}its pod was deleted by somebody.",
    "StuckTerminating": f"{FATAL}its pod was deleted and did not end.",
    "KilledBySignal": f"{FATAL}it was ended by a signal.",
    "RetriesExhausted": "Algorithm failed and has no retries left.",
    "NoReport": "Algorithm finished without reporting a result.",
    "JobVanished": "Algorithm's Job was deleted from its cluster before the run had ended.",
}
"""By category, where it is not the one of all that never started."""


class Scenario(NamedTuple):
    """`ends`: stage and category of its end; None where it goes on by itself. `hangs`: the category that is shown of a
    Job that does not end by itself. `details` and `hint` are words that must be said. `policy`: with the
    podFailurePolicy that Nexus gives each Job, by which disruptions are no failures.
    """

    name: str
    ends: tuple[Stage, str] | None
    details: str = ""
    hint: str = ""
    hangs: str = ""
    outcome: str = ""
    played: Mapping[str, object] = {}
    labels: Mapping[str, str] = {}
    policy: bool = True
    retries: int = 0
    deadline: int | None = None
    unmanaged: bool = False
    """Whether the cluster's own controller leaves the Job alone."""
    pod: Callable[[Scene], Mapping[str, Any]] = lambda _: {}
    container: Mapping[str, Any] = {}
    act: Callable[[Scene, str], Awaitable[None]] | None = None
    log: bool = False
    """Whether there must be a log in the evidence: a pod that is deleted may be gone before it was asked for its own."""

    @property
    def run(self) -> str:
        """The id of its run: the same in each recording."""
        return f"019b7c9e-6c2e-7000-8000-{crc32(self.name.encode()):012x}"

    @property
    def cause(self) -> str:
        assert self.ends
        return CAUSES.get(self.ends[1], NO_LAUNCH)

    def request(self) -> RunRequested:
        codes = {"transientExitCodes": [75], "fatalExitCodes": [42]}
        return run_requested(
            self.run,
            spec=algorithm(errorHandlingBehaviour=codes),
            placement_deadline=datetime(2999, 1, 1, tzinfo=UTC),
        )

    def manifest(self, scene: Scene) -> dict[str, Any]:
        manifest = MATERIALIZER.job(self.request(), "http://payload")
        spec = manifest["spec"]
        spec["backoffLimit"] = self.retries
        if self.deadline:
            spec["activeDeadlineSeconds"] = self.deadline
        if self.unmanaged:
            spec["managedBy"] = "nobody.test/at-all"
        if not self.policy:
            del spec["podFailurePolicy"]
        pod = spec["template"]["spec"]
        pod |= self.pod(scene)
        pod["containers"][0] |= self.container
        manifest = played(manifest, self.outcome, **self.played)
        template = spec["template"]["metadata"]
        template["labels"] = template["labels"] | self.labels
        return manifest


def _on(node: str) -> Callable[[Scene], Mapping[str, Any]]:
    return lambda scene: scene.placed_on(node)


def _low(scene: Scene) -> Mapping[str, Any]:
    return {**scene.placed_on("small"), "priorityClassName": scene.named("low")}


def _without_quota(scene: Scene) -> Mapping[str, Any]:
    return {"priorityClassName": scene.named("none")}


def _requests(**resources: str) -> Mapping[str, Any]:
    return {"resources": {"requests": resources}}


_SHORT = {"run_for": "500ms"}
_AT_ONCE = {f"{SIM}/stop": "at-once"}

SCENARIOS = (
    # Ends of the algorithm
    Scenario(
        "fail1", (FAILED, "RetriesExhausted"), "exit code 1 (Error): boom", "See the log for why",
        outcome="fail", played={**_SHORT, "exit_code": 1, "message": "boom"}, policy=False, log=True,
    ),
    Scenario(
        "fail-b1", (FAILED, "RetriesExhausted"), "exit code 1", "See the log for why",
        outcome="fail", played={**_SHORT, "exit_code": 1}, policy=False, retries=1, log=True,
    ),
    Scenario(
        "pfp42", (FAILED, "FatalExitCode"), "failed with exit code 42 matching FailJob rule", "lists as fatal",
        outcome="fail", played={**_SHORT, "exit_code": 42}, retries=3, log=True,
    ),
    Scenario(
        "pfp-other", (FAILED, "RetriesExhausted"), "exit code 7", "See the log for why",
        outcome="fail", played={**_SHORT, "exit_code": 7}, log=True,
    ),
    Scenario(
        "transient", (DEADLINE, "TransientUntilDeadline"), "exit code 75", "tried again until the deadline",
        outcome="fail", played={**_SHORT, "exit_code": 75}, deadline=4, log=True,
    ),
    Scenario(
        "signal", (FAILED, "KilledBySignal"), "SIGSEGV: an invalid memory reference", "native code",
        outcome="fail", played={**_SHORT, "exit_code": 139}, log=True,
    ),
    Scenario(
        "not-found", (FAILED, "RetriesExhausted"), "exit code 127", "not on its PATH",
        outcome="fail", played={**_SHORT, "exit_code": 127}, log=True,
    ),
    Scenario(
        "start-error", (LAUNCH, "CommandNotStarted"), '"no-such-command": executable file not found',
        "the program must exist in the image", outcome="start-error",
    ),
    Scenario(
        "rejected", (LAUNCH, "RejectedByNode"), "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu",
        "submit the run again", outcome="rejected",
    ),
    Scenario(
        "oom", (FAILED, "OutOfMemory"), "137 (OOMKilled)", "Raise the memory limit",
        outcome="oom", played=_SHORT, policy=False, log=True,
    ),
    Scenario(
        "silent", (FAILED, "NoReport"), "exit code 0", "wait for its answer", played=_SHORT, log=True,
    ),
    # Deadlines
    Scenario(
        "hang", (DEADLINE, "DeadlineExceeded"), "active longer than specified deadline", "deadlineSeconds",
        outcome="hang", played={"stop_delay": "8s"}, policy=False, deadline=3, log=True,
    ),
    Scenario(
        "hang-pfp", (DEADLINE, "DeadlineExceeded"), "active longer than specified deadline", "deadlineSeconds",
        outcome="hang", deadline=3,
    ),
    Scenario(
        "stock-del", (DEADLINE, "DeadlineExceeded"), "active longer", "deadlineSeconds",
        outcome="hang", labels=_AT_ONCE, policy=False, deadline=3,
    ),
    Scenario(
        "stock-del-pfp", (DEADLINE, "DeadlineExceeded"), "active longer", "deadlineSeconds",
        outcome="hang", labels=_AT_ONCE, deadline=3,
    ),
    Scenario(
        "imgpull", (LAUNCH, "ImagePull"), "Back-off pulling image", "an image that the cluster may pull",
        outcome="image-pull", policy=False, deadline=4,
    ),
    Scenario(
        "cfgerr", (LAUNCH, "ContainerConfig"), 'secret "absent" not found', "secrets, config maps and keys",
        outcome="config-error", policy=False, deadline=3,
    ),
    Scenario(
        "unsched", (LAUNCH, "NotPlaced"), "a node that matches the affinity", "labels of the nodes",
        deadline=3, pod=lambda _: {"nodeSelector": {"no": "such"}},
    ),
    # What happens to pods, nodes and Jobs
    Scenario(
        "evict0", (FAILED, "Evicted"), "low on resource: memory", "Submit the run again",
        outcome="evict", played=_SHORT, policy=False, log=True,
    ),
    Scenario("evict-ign", None, outcome="evict", played=_SHORT),
    Scenario(
        "preempted", (FAILED, "Preempted"), "preempting to accommodate a higher priority pod", "a priority of its own",
        outcome="hang", policy=False, pod=_low, container=_requests(cpu="1"), act=Scene.preempt,
    ),
    Scenario(
        "nodenotready", (FAILED, "NodeLost"), "NoExecute taint", "bring the node back",
        outcome="hang", policy=False, pod=_on("notready"), act=Scene.fail_node,
    ),
    Scenario(
        "nodegone", (FAILED, "NodeLost"), "node no longer exists", "bring the node back",
        outcome="hang", policy=False, pod=_on("gone"), act=Scene.delete_node,
    ),
    Scenario(
        "mine-podkill", (FAILED, "PodDeleted"), "exit code 143", "who deletes pods",
        outcome="hang", policy=False, act=Scene.delete_pod,
    ),
    Scenario(
        "mine-podkill-pfp", (FAILED, "PodDeleted"), "exit code 143", "who deletes pods",
        outcome="hang", act=Scene.delete_pod,
    ),
    Scenario("stock-podkill-pfp", None, outcome="hang", labels=_AT_ONCE, act=Scene.delete_pod),
    Scenario(
        "jobkill", (FAILED, "JobVanished"), "is not on cluster", "who deletes Jobs",
        outcome="hang", act=Scene.delete_job,
    ),
    # What hangs, and would for ever
    Scenario(
        "hang-imgpull", (LAUNCH, "ImagePull"), "Back-off pulling image", "an image that the cluster may pull",
        hangs="ImagePull", outcome="image-pull",
    ),
    Scenario(
        "image-name", (LAUNCH, "ImageName"), "couldn't parse image name", "registry/image:versionTag",
        hangs="ImageName", outcome="image-name",
    ),
    Scenario(
        "config-key", (LAUNCH, "ContainerConfig"), "couldn't find key price in ConfigMap", "config maps and keys",
        hangs="ContainerConfig", outcome="config-error",
        played={"message": "couldn't find key price in ConfigMap runs/settings"},
    ),
    Scenario(
        "mount", (LAUNCH, "VolumeMount"), 'MountVolume.SetUp failed for volume "keys"', "the template's mounts",
        hangs="VolumeMount", outcome="mount",
    ),
    Scenario(
        "creating", (LAUNCH, "NotStarted"), "nobody said why", "look at the node",
        hangs="NotStarted", outcome="creating",
    ),
    Scenario(
        "no-cpu", (LAUNCH, "NotPlaced"), "What lacked: cpu", "Lower the cpu request",
        hangs="NotPlaced", container=_requests(cpu="5000"),
    ),
    Scenario(
        "no-memory", (LAUNCH, "NotPlaced"), "What lacked: memory", "Lower the memory request",
        hangs="NotPlaced", container=_requests(memory="5Ti"),
    ),
    Scenario(
        "taint", (LAUNCH, "NotPlaced"), "a toleration of the nodes' taints", "Give the workgroup a toleration",
        hangs="NotPlaced", pod=lambda scene: {"nodeSelector": scene.placed_on("small")["nodeSelector"]},
    ),
    Scenario(
        "quota", (LAUNCH, "QuotaExceeded"), "exceeded quota: none", "raise the namespace's quota",
        hangs="QuotaExceeded", pod=_without_quota,
    ),
    Scenario(
        "webhook", (LAUNCH, "AdmissionDenied"), "no image without a signature", "the policy's reason",
        hangs="AdmissionDenied", labels={f"{SIM}/denied": "true"},
    ),
    Scenario(
        "account", (LAUNCH, "PodsRefused"), 'serviceaccount "absent" not found', "Create that service account",
        hangs="PodsRefused", pod=lambda _: {"serviceAccountName": "absent"},
    ),
    Scenario(
        "no-pod", (LAUNCH, "NoPod"), "made no pod, and said nothing", "controller manager",
        hangs="NoPod", unmanaged=True,
    ),
    Scenario(
        "terminating", (FAILED, "StuckTerminating"), "", "finalizers",
        hangs="StuckTerminating", outcome="hang", played={"stop_delay": "1h"}, act=Scene.delete_pod, log=True,
    ),
    Scenario(
        "nodelost", (FAILED, "NodeLost"), "NoExecute taint", "bring the node back",
        hangs="NodeLost", outcome="hang", policy=False, pod=_on("lost"), act=Scene.lose_node, log=True,
    ),
    Scenario(
        "nodelost-pfp", (LAUNCH, "NotPlaced"), "untolerated taint", "remove it from the nodes",
        hangs="NotPlaced", outcome="hang", pod=_on("fenced"), act=Scene.fence_node,
    ),
)  # fmt: skip
"""Those of one word and their `-ign` and `-pfp` are named as in the first recording of all."""
