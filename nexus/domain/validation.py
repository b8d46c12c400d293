"""What a template or an override must satisfy so that the Job made of it is one an API server takes.

The rules are those of Kubernetes' own validation (names, labels, quantities, podFailurePolicy), checked at submit
so that the caller hears of them and not the scheduler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from nexus.domain.duration import parse_duration
from nexus.domain.errors import InvalidInput
from nexus.domain.quantity import parse_quantity
from nexus.domain.template import AlgorithmSpec, ComputeResources, Workgroup, limits_of
from nexus.domain.texts import check_line

__all__ = [
    "check_algorithm_name",
    "check_applied",
    "check_overrides",
    "check_tag",
    "check_template",
    "check_workgroup",
]

_INT32 = 2**31 - 1
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_VARIABLE = re.compile(r"[^=\x00-\x1f\x7f-\U0010ffff]+")
_REGISTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:/_-]*")
_IMAGE = re.compile(r"[a-z0-9]+([._/-]+[a-z0-9]+)*")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_TAG_LENGTH = 1024


def check_algorithm_name(name: str) -> None:
    """A template's name is also the value of a label on its Jobs, hence the 63 characters."""
    if len(name) > 63 or not _SUBDOMAIN.fullmatch(name):
        raise InvalidInput(
            "algorithm name", f"{name[:80]!r} is not a lower-case Kubernetes name of at most 63 characters"
        )


def check_tag(field: str, tag: str) -> None:
    if len(tag) > _TAG_LENGTH:
        raise InvalidInput(field, f"has {len(tag)} characters, at most {_TAG_LENGTH} are allowed")
    check_line(field, tag)


def check_template(name: str, spec: AlgorithmSpec) -> None:
    """A template as it stands in its manifest: complete, and every value well-formed."""
    check_algorithm_name(name)
    for field, value in (
        ("container.image", spec.container.image),
        ("container.registry", spec.container.registry),
        ("container.versionTag", spec.container.version_tag),
        ("command", spec.command.strip()),
        ("workgroupRef.name", spec.workgroup_ref.name),
    ):
        if not value:
            raise InvalidInput(f"spec.{field}", "is required")
    _check_values(spec, "spec")
    check_applied(spec, "spec")


def check_overrides(overrides: AlgorithmSpec) -> None:
    """A run's `customConfiguration`: well-formed; what it leaves out comes from the template."""
    _check_values(overrides, "customConfiguration")


def check_applied(spec: AlgorithmSpec, field: str) -> None:
    """What only the merged configuration can tell: no request above its limit."""
    resources = spec.compute_resources
    limits = limits_of(resources)
    for name, request in resources.requests.items():
        limit = limits.get(name)
        if limit and parse_quantity("", request) > parse_quantity("", limit):
            raise InvalidInput(
                f"{field}.computeResources.requests.{name}", f"{request} is above its limit of {limit}"
            )


def check_workgroup(workgroup: Workgroup) -> None:
    if not _SUBDOMAIN.fullmatch(workgroup.name):
        raise InvalidInput("metadata.name", f"{workgroup.name[:80]!r} is not a Kubernetes name")
    if not workgroup.spec.cluster:
        raise InvalidInput(
            "spec.cluster", "is required: it names the cluster where runs of this workgroup go"
        )


def _check_values(spec: AlgorithmSpec, at: str) -> None:
    _match(f"{at}.container.registry", spec.container.registry, _REGISTRY, "an image registry")
    _match(f"{at}.container.image", spec.container.image, _IMAGE, "an image name")
    _match(f"{at}.container.versionTag", spec.container.version_tag, _VERSION, "an image tag")
    _match(
        f"{at}.container.serviceAccountName",
        spec.container.service_account_name,
        _SUBDOMAIN,
        "a Kubernetes name",
    )
    _match(f"{at}.workgroupRef.name", spec.workgroup_ref.name, _SUBDOMAIN, "a Kubernetes name")
    _check_resources(spec.compute_resources, f"{at}.computeResources")
    run, field = spec.runtime_environment, f"{at}.runtimeEnvironment"
    _check_range(f"{field}.deadlineSeconds", run.deadline_seconds, 1)
    _check_range(f"{field}.maximumRetries", run.maximum_retries, 0)
    for index, variable in enumerate(run.environment_variables):
        _check_variable(f"{field}.environmentVariables[{index}]", variable)
    for index, source in enumerate(run.mapped_environment_variables):
        if not any(isinstance(source.get(kind), dict) for kind in ("configMapRef", "secretRef")):
            raise InvalidInput(
                f"{field}.mappedEnvironmentVariables[{index}]", "needs a configMapRef or a secretRef"
            )
    for key in run.annotations:
        _match(f"{field}.annotations", key, _QUALIFIED, "the key of an annotation")
    taken: set[str] = set()
    for kind, mounts in (
        ("configurationFileMounts", run.configuration_file_mounts),
        ("secretFileMounts", run.secret_file_mounts),
        ("storageMounts", run.storage_mounts),
    ):
        _check_mounts(f"{field}.{kind}", mounts, taken)
    errors = spec.error_handling_behaviour
    _check_exit_codes(f"{at}.errorHandlingBehaviour.fatalExitCodes", errors.fatal_exit_codes)
    _check_exit_codes(f"{at}.errorHandlingBehaviour.transientExitCodes", errors.transient_exit_codes)
    payload = spec.payload_configuration
    if payload.payload_valid_for:
        parse_duration(f"{at}.payloadConfiguration.payloadValidFor", payload.payload_valid_for)
    if payload.payload_serialization_mode not in {"", "s3", "backend"}:
        raise InvalidInput(
            f"{at}.payloadConfiguration.payloadSerializationMode",
            f"{payload.payload_serialization_mode[:40]!r} is neither 's3' nor 'backend'",
        )


def _check_resources(resources: ComputeResources, at: str) -> None:
    for field, quantity in (("cpuLimit", resources.cpu_limit), ("memoryLimit", resources.memory_limit)):
        if quantity:
            parse_quantity(f"{at}.{field}", quantity)
    for field, quantities in (
        ("limits", resources.limits),
        ("requests", resources.requests),
        ("customResources", resources.custom_resources),
    ):
        for name, quantity in quantities.items():
            _match(f"{at}.{field}", name, _QUALIFIED, "the name of a resource")
            parse_quantity(f"{at}.{field}.{name}", quantity)
    if resources.default_resource_quota:
        try:
            share = Decimal(resources.default_resource_quota)
        except InvalidOperation:
            return  # upstream falls back to 0.1 (contract §3.2), and so does the materialization
        if not share.is_finite() or not 0 < share <= 1:
            raise InvalidInput(f"{at}.defaultResourceQuota", f"{share} is not above 0 and at most 1")


def _check_variable(at: str, variable: Mapping[str, Any]) -> None:
    name = variable.get("name")
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise InvalidInput(f"{at}.name", f"{str(name)[:80]!r} is not the name of an environment variable")
    if not isinstance(variable.get("value", ""), str):
        raise InvalidInput(f"{at}.value", "is not a string; write numbers and booleans in quotes")
    if variable.get("value") and variable.get("valueFrom"):
        raise InvalidInput(at, "has both value and valueFrom, only one may be given")


def _check_mounts(at: str, mounts: Mapping[str, Mapping[str, Any]], taken: set[str]) -> None:
    """`taken` gathers the names of volumes and the paths in the container: each may be there once."""
    for source, mount in mounts.items():
        if not (source == "emptyDir" or _SUBDOMAIN.fullmatch(source)):
            raise InvalidInput(at, f"{source[:80]!r} is not the name of a Kubernetes object")
        name, path = mount.get("name"), mount.get("mountPath")
        if not isinstance(name, str) or not _LABEL.fullmatch(name):
            raise InvalidInput(f"{at}.{source}.name", f"{str(name)[:80]!r} is not the name of a volume")
        if not isinstance(path, str) or not path or ":" in path:
            raise InvalidInput(
                f"{at}.{source}.mountPath", f"{str(path)[:80]!r} is not a path in the container"
            )
        if name in taken or path in taken:
            raise InvalidInput(f"{at}.{source}", f"volume {name!r} at {path!r} is mounted twice")
        taken |= {name, path}


def _check_exit_codes(at: str, codes: Iterable[int]) -> None:
    distinct = set(codes)
    if len(distinct) > 255:
        raise InvalidInput(at, f"has {len(distinct)} exit codes, at most 255 are allowed")
    for code in distinct:
        if not 1 <= code <= 255:
            raise InvalidInput(at, f"{code} is not an exit code of a failure (1 to 255)")


def _check_range(at: str, value: int | None, least: int) -> None:
    if value is not None and not least <= value <= _INT32:
        raise InvalidInput(at, f"{value} is not between {least} and {_INT32}")


def _match(at: str, value: str, pattern: re.Pattern[str], what: str) -> None:
    if value and not pattern.fullmatch(value):
        raise InvalidInput(at, f"{value[:80]!r} is not {what}")
