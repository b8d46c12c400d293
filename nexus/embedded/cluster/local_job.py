"""The parts of a `batch/v1` Job that mean something to a local process, and what is refused of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from nexus.domain.errors import InvalidInput, Refused
from nexus.domain.observed import Metadata
from nexus.domain.quantity import whole_units
from nexus.embedded.cluster.work_order import Rule

__all__ = ["ALGORITHM_LABEL", "Container", "Job", "parse"]

ALGORITHM_LABEL = "science.sneaksanddata.com/algorithm-template-name"

_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?")


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class EnvVar(_Shape, frozen=True):
    name: str
    value: str | None = None
    value_from: dict[str, Any] | None = None

    @property
    def missing(self) -> str:
        """What this variable waits for, in the kubelet's words; empty when it can do without."""
        for source, kind in (("secretKeyRef", "secret"), ("configMapKeyRef", "configmap")):
            wanted = (self.value_from or {}).get(source)
            if wanted:
                return "" if wanted.get("optional") else f'{kind} "{wanted.get("name", "")}" not found'
        return f'env "{self.name}": valueFrom cannot be resolved on this cluster' if self.value_from else ""


class EnvFrom(_Shape, frozen=True):
    secret_ref: dict[str, Any] | None = None
    config_map_ref: dict[str, Any] | None = None

    @property
    def missing(self) -> str:
        for kind, wanted in (("secret", self.secret_ref), ("configmap", self.config_map_ref)):
            if wanted and not wanted.get("optional"):
                return f'{kind} "{wanted.get("name", "")}" not found'
        return ""


class Resources(_Shape, frozen=True):
    limits: dict[str, str | int | float] | None = None


class Container(_Shape, frozen=True):
    name: str
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[EnvVar] | None = None
    env_from: list[EnvFrom] | None = None
    resources: Resources | None = None

    @property
    def words(self) -> list[str]:
        return [*(self.command or ()), *(self.args or ())]

    @property
    def environment(self) -> dict[str, str]:
        return {e.name: e.value or "" for e in self.env or () if e.value_from is None}

    @property
    def unresolved(self) -> str:
        """What the container cannot be made without."""
        sources = (*(self.env_from or ()), *(self.env or ()))
        return next((source.missing for source in sources if source.missing), "")

    @property
    def memory(self) -> int | None:
        """Bytes. Raises InvalidInput."""
        limits = (self.resources.limits if self.resources else None) or {}
        if "memory" not in limits:
            return None
        return whole_units("resources.limits.memory", str(limits["memory"]))


class OnExitCodes(_Shape, frozen=True):
    operator: Literal["In", "NotIn"]
    values: list[int]
    container_name: str | None = None


class OnPodCondition(_Shape, frozen=True):
    type: str
    status: str = "True"


class PolicyRule(_Shape, frozen=True):
    action: Literal["FailJob", "Ignore", "Count"]
    on_exit_codes: OnExitCodes | None = None
    on_pod_conditions: list[OnPodCondition] | None = None


class PodFailurePolicy(_Shape, frozen=True):
    rules: list[PolicyRule]


class TemplateMetadata(_Shape, frozen=True):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class PodSpec(_Shape, frozen=True):
    containers: list[Container]


class PodTemplate(_Shape, frozen=True):
    spec: PodSpec
    metadata: TemplateMetadata | None = None


class JobSpec(_Shape, frozen=True):
    template: PodTemplate
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None


class _Namespaced(_Shape, frozen=True):
    namespace: str | None = None


class Job(_Shape, frozen=True):
    """`metadata` is shown as it was sent; `spec` is what the owner works from."""

    metadata: Metadata
    spec: JobSpec
    namespace: str

    @property
    def container(self) -> Container:
        return self.spec.template.spec.containers[0]

    @property
    def backoff_limit(self) -> int:
        return 6 if self.spec.backoff_limit is None else self.spec.backoff_limit

    @property
    def rules(self) -> list[Rule]:
        policy = self.spec.pod_failure_policy
        return [_rule(rule, self.container.name) for rule in (policy.rules if policy else ())]


def _rule(rule: PolicyRule, container: str) -> Rule:
    codes = rule.on_exit_codes
    applies = codes is not None and codes.container_name in {None, container}
    return {
        "action": rule.action,
        "operator": codes.operator if codes and applies else "",
        "values": codes.values if codes else [],
        "conditions": [c.type for c in rule.on_pod_conditions or () if c.status == "True"],
    }


def parse(manifest: Mapping[str, Any]) -> Job:
    """Raises Refused (422) for what the API server would not take, or what no process can be made of."""
    name = ""
    try:
        sent = {
            key: value for key, value in dict(manifest.get("metadata") or {}).items() if value is not None
        }
        name = str(sent.get("name", ""))
        job = Job(
            metadata=msgspec.convert(sent, Metadata),
            spec=msgspec.convert(manifest.get("spec"), JobSpec),
            namespace=msgspec.convert(sent, _Namespaced).namespace or "default",
        )
        _check(job)
    except (msgspec.ValidationError, InvalidInput) as error:
        raise Refused(422, f'Job.batch "{name}" is invalid: {error}') from error
    return job


def _check(job: Job) -> None:
    spec = job.spec
    if not _NAME.fullmatch(job.metadata.name):
        raise InvalidInput(
            "metadata.name",
            f"{job.metadata.name[:64]!r} is not a lower-case DNS name of at most 63 characters",
        )
    if not spec.template.spec.containers:
        raise InvalidInput("spec.template.spec.containers", "there is none")
    if job.backoff_limit < 0:
        raise InvalidInput("spec.backoffLimit", "must be greater than or equal to 0")
    if spec.active_deadline_seconds is not None and spec.active_deadline_seconds < 0:
        raise InvalidInput("spec.activeDeadlineSeconds", "must be greater than or equal to 0")
    for index, rule in enumerate(job.rules):
        if rule["operator"] and not rule["values"]:
            raise InvalidInput(f"spec.podFailurePolicy.rules[{index}].onExitCodes.values", "is empty")
        if rule["operator"] == "In" and 0 in rule["values"]:
            raise InvalidInput(f"spec.podFailurePolicy.rules[{index}].onExitCodes.values", "0 is no failure")
    container = job.container
    container.memory  # noqa: B018 - raises what is wrong with it
    texts = (*container.words, *(text for pair in container.environment.items() for text in pair))
    if any("\0" in text for text in texts):
        raise InvalidInput("spec.template.spec.containers[0]", "command, args and env cannot hold NUL")
    for variable in container.env or ():
        if not variable.name or "=" in variable.name:
            raise InvalidInput("spec.template.spec.containers[0].env", f"{variable.name!r} is not a name")
