"""Jobs and pods as the API server would show them, as plain JSON; an owner writes them down at each step."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from nexus.embedded.cluster.work_order import Order

__all__ = [
    "Json",
    "State",
    "condition",
    "fail",
    "new_pod",
    "new_state",
    "schedule",
    "set_container",
    "stamp",
    "succeed",
]

Json = dict[str, Any]
State = Json
"""`job`: the Job's status; `pods`: of each its metadata and status; `attempts`: how many pods there were;
`process`: the running command, a `processes.Mark`; `owner`: who acts for the Job, the same, or None when nobody
does and nothing of it runs."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes makes the ends of generated names from


def stamp(seconds: float | None = None) -> str:
    """Now, or that many seconds since the epoch, in RFC 3339."""
    at = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return at.isoformat().replace("+00:00", "Z")


def _suffix(number: int) -> str:
    letters = []
    for _ in range(5):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)


def new_state(order: Order) -> State:
    """A Job just created: its first pod waits for a slot."""
    pod = new_pod(order, 0, order["created"])
    job = {"active": 1, "startTime": order["created"]}
    return {"job": job, "pods": [pod], "attempts": 1, "process": None, "owner": None}


def schedule(order: Order, pod: Json, at: str) -> None:
    """The pod has a slot: its owner is about to start the command."""
    pod["status"] = {
        "phase": "Pending",
        "startTime": at,
        "conditions": [condition("PodScheduled", "", "", at)],
    }
    set_container(order, pod, {"waiting": {"reason": "ContainerCreating"}})


def set_container(order: Order, pod: Json, state: Json) -> None:
    pod["status"]["containerStatuses"] = [{"name": order["container"], "state": state, "restartCount": 0}]


def new_pod(order: Order, attempt: int, at: str) -> Json:
    labels = order["labels"] | {
        "batch.kubernetes.io/job-name": order["name"],
        "batch.kubernetes.io/controller-uid": order["uid"],
    }
    # The same for the adapter, which shows the first pod while it waits, and for the owner, which runs it.
    uid = uuid.uuid5(uuid.UUID(order["uid"]), str(attempt))
    metadata = {
        "name": f"{order['name']}-{_suffix(uid.int)}",
        "uid": str(uid),
        "labels": labels,
        "annotations": order["annotations"],
        "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": order["name"], "uid": order["uid"]}
        ],
        "creationTimestamp": at,
    }
    return {"metadata": metadata, "status": {"phase": "Pending"}}


def condition(kind: str, reason: str, message: str, at: str, status: str = "True") -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at}


def fail(state: State, reason: str, message: str, at: str) -> None:
    """The Job ended in failure; the API server shows FailureTarget first, and both from then on."""
    job = state["job"]
    job["active"] = 0
    job["conditions"] = [condition(kind, reason, message, at) for kind in ("FailureTarget", "Failed")]


def succeed(state: State, at: str) -> None:
    job = state["job"]
    job.update(active=0, succeeded=1, completionTime=at)
    reached = "Reached expected number of succeeded pods"
    job["conditions"] = [
        condition(kind, "CompletionsReached", reached, at) for kind in ("SuccessCriteriaMet", "Complete")
    ]
