"""What a refusal of the cluster means, of a Job or of a Job's pods: the first pattern that matches wins."""

from __future__ import annotations

import re

from nexus.domain.diagnosis.ending import LAUNCH, Ending
from nexus.domain.events import Diagnosis, RunSchedulingFailed

__all__ = ["PLACEMENT_DEADLINE", "REFUSALS", "Refusal", "explain", "refusal_of"]


class Refusal(Ending, frozen=True, kw_only=True):
    """`pattern` is looked for in the API server's words."""

    pattern: str
    ends_as: type[RunSchedulingFailed] = RunSchedulingFailed
    cause: str = LAUNCH.format("<the cluster's reason>")


REFUSALS = (
    Refusal(
        category="QuotaExceeded",
        when="a resource quota of the namespace does not allow it",
        pattern=r"exceeded quota|[Mm]aximum .* usage per|failed quota",
        hint="Lower the requests in computeResources, wait until others have ended, or raise the namespace's quota.",
    ),
    Refusal(
        category="AdmissionDenied",
        when="an admission webhook or policy of the cluster denied it",
        pattern=r"admission webhook .* denied|denied (?:the )?request|violates PodSecurity",
        hint="Read the policy's reason; correct the template, or ask who runs the policy for an exception.",
    ),
    Refusal(
        category="AdmissionFailed",
        when="an admission webhook of the cluster does not answer",
        pattern=r"failed calling webhook|failed to call webhook",
        hint="Ask who runs that webhook to bring it back; then submit the run again.",
    ),
    Refusal(
        category="Forbidden",
        when="Nexus, or the Job controller, lacks the right to make it",
        pattern=r"cannot create resource|Unauthorized|answered 401",
        hint="Give Nexus' account on that cluster the right to create Jobs in the runtime namespace.",
    ),
    Refusal(
        category="NamespaceMissing",
        when="the runtime namespace is not there, or is being deleted",
        pattern=r'namespaces? "?[^ ]+"? not found|because it is being terminated',
        hint="Check kubernetes.namespace in the configuration, and that the namespace exists on that cluster.",
    ),
    Refusal(
        category="ServiceAccountMissing",
        when="the service account of the template is not there",
        pattern=r"serviceaccount .* not found",
        hint="Create that service account in the runtime namespace, or correct container.serviceAccountName.",
    ),
    Refusal(
        category="InvalidJob",
        when="the API server does not take the Job as it is",
        pattern=r"answered 4(?:00|22)|is invalid|[Ii]nvalid value",
        hint="Correct the field that is named, in the template, the workgroup or the overrides, and submit again.",
    ),
    Refusal(
        category="Unreachable",
        when="the cluster could not be reached, or was full",
        pattern=r"no scheduler could place it|cannot be reached|did not answer",
        hint="Check that the cluster is up and that Nexus reaches it; then submit the run again.",
    ),
    Refusal(
        category="Refused",
        when="the cluster refuses it for any other reason",
        pattern=r"",
        hint="Read the cluster's reason; correct the template, the workgroup or the overrides, and submit again.",
    ),
)

PLACEMENT_DEADLINE = Ending(
    category="PlacementDeadline",
    when="no Job could be made of it before placement.deadline: the cluster was full, away, or kept refusing",
    ends_as=RunSchedulingFailed,
    cause=LAUNCH.format("It could not be placed before its deadline. Last: <the cluster's last reason>"),
    hint="Correct what the last reason names, and submit the run again; or raise placement.deadline.",
)


def refusal_of(words: str) -> Refusal:
    return next(each for each in REFUSALS if re.search(each.pattern, words))


def explain(words: str) -> Diagnosis:
    """Why the cluster will not have a Job, by the words in which it said so."""
    found = refusal_of(words)
    return Diagnosis(category=found.category, cause=LAUNCH.format(words), details=words, hint=found.hint)
