"""What a scheduler means by a pod that no node takes: what lacked, and what to do about it."""

from __future__ import annotations

import re

import msgspec

__all__ = ["LACKS", "SLOT_HINT", "Lack", "lacking", "no_slot", "placing_advice"]


class Lack(msgspec.Struct, frozen=True):
    """`pattern` finds it in the scheduler's message; its group, where there is one, names what lacked."""

    pattern: str
    what: str
    hint: str


_NO_SLOT = "every slot of this cluster is taken"
SLOT_HINT = "It starts when another run ends; raise cluster.slots where the machine can take more."
"""For the embedded cluster, which has no nodes."""

LACKS = (
    Lack(
        r"Insufficient cpu",
        "cpu",
        "Lower the cpu request in computeResources, or add nodes with more free cpu.",
    ),
    Lack(
        r"Insufficient memory",
        "memory",
        "Lower the memory request in computeResources, or add nodes with more free memory.",
    ),
    Lack(
        r"Insufficient ([\w./-]*[\w/-])",
        "",
        "Check customResources of computeResources, and that nodes offer that resource.",
    ),
    Lack(r"Too many pods", "room for one more pod", "The nodes run as many pods as they may: add nodes."),
    Lack(
        r"untolerated taint",
        "a toleration of the nodes' taints",
        "Give the workgroup a toleration of the taint, or remove it from the nodes.",
    ),
    Lack(
        r"node affinity/selector|node selector",
        "a node that matches the affinity",
        "Compare the workgroup's affinity with the labels of the nodes.",
    ),
    Lack(
        r"pod (?:anti-)?affinity rules",
        "a node that matches the affinity to other pods",
        "Compare the workgroup's pod affinity with what runs on the nodes.",
    ),
    Lack(
        r"were unschedulable",
        "a node that takes new pods",
        "Nodes are cordoned: uncordon them, or add others.",
    ),
    Lack(
        r"[Pp]ersistent[Vv]olume[Cc]laim",
        "a volume",
        "Check that the claims of storageMounts exist and are bound.",
    ),
    Lack(
        r"no nodes available|0/0 nodes", "any node", "The cluster has no node: add nodes, or wait for them."
    ),
    Lack(_NO_SLOT, "a slot", SLOT_HINT),
)


def _found(message: str) -> list[tuple[str, Lack]]:
    """In the order of the table, each once; what a more special line named is not named again."""
    found: dict[str, Lack] = {}
    for lack in LACKS:
        for match in re.finditer(lack.pattern, message):
            found.setdefault(lack.what or match[1], lack)
    return list(found.items())


def lacking(message: str) -> list[str]:
    """What lacked, in a few words each: `cpu`, `memory`, `nvidia.com/gpu`."""
    # What preemption could not do is no reason why there is no room.
    return [what for what, _ in _found(message.partition("preemption:")[0])]


def no_slot(message: str) -> bool:
    """Whether it is the embedded cluster's, which has no nodes."""
    return _NO_SLOT in message


def placing_advice(message: str) -> str:
    return " ".join(dict.fromkeys(lack.hint for _, lack in _found(message.partition("preemption:")[0])))
