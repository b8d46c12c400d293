"""What a template or an override must satisfy so that the Job made of it is one an API server takes.

The rules are those of Kubernetes' own validation (names, labels, quantities, podFailurePolicy), checked at submit
so that the caller hears of them and not the scheduler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from nexus.domain import bounds
from nexus.domain.bounds import check_bound
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
_NAME_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VARIABLE = re.compile(r"[^=\x00-\x1f\x7f-\U0010ffff]+")
_REGISTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:/_-]*")
_IMAGE = re.compile(r"[a-z0-9]+([._/-]+[a-z0-9]+)*")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ANNOTATIONS = 256 * 1024
"""Bytes of keys and values together that an API server takes."""
_DATADOG = {"dsdsocket", "/var/run/datadog"}
"""The volume that contract §4.6 adds, and where."""
_NATIVE = {"cpu", "memory", "ephemeral-storage"}
_BYTES = ("memory", "ephemeral-storage", "hugepages-")
_FRACTIONS = ("m", "u", "n")
_OPERATORS = {"", "Exists", "Equal", "Lt", "Gt"}


def check_algorithm_name(name: str) -> None:
    """A template's name is also the value of a label on its Jobs, hence the 63 characters."""
    if len(name) > 63 or not _SUBDOMAIN.fullmatch(name):
        raise InvalidInput(
            "algorithm name", f"{name[:80]!r} is not a lower-case Kubernetes name of at most 63 characters"
        )


def check_tag(field: str, tag: str) -> None:
    check_bound(field, tag, bounds.TAG)
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
    """What only the merged configuration can tell: no request above its limit, and of a device exactly its limit."""
    resources = spec.compute_resources
    limits = limits_of(resources)
    for name, request in resources.requests.items():
        limit = limits.get(name)
        if "/" in name and (limit is None or parse_quantity("", request) != parse_quantity("", limit)):
            raise InvalidInput(
                f"{field}.computeResources.requests.{name}",
                f"{request} is not its limit, which a device needs",
            )
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
    for index, toleration in enumerate(workgroup.spec.tolerations):
        operator = toleration.get("operator", "")
        if operator not in _OPERATORS:
            raise InvalidInput(
                f"spec.tolerations[{index}].operator",
                f"{str(operator)[:80]!r} is no operator of a toleration",
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
        named = [ref for kind in ("configMapRef", "secretRef") if isinstance(ref := source.get(kind), dict)]
        if not named or not all(isinstance(ref.get("name"), str) and ref["name"] for ref in named):
            raise InvalidInput(
                f"{field}.mappedEnvironmentVariables[{index}]",
                "needs a configMapRef or a secretRef with a name",
            )
    _check_annotations(f"{field}.annotations", run.annotations)
    taken = set(_DATADOG if spec.datadog_integration_settings.mount_datadog_socket else ())
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
            _check_quantity(f"{at}.{field}", field.removesuffix("Limit"), quantity)
    for field, quantities in (
        ("limits", resources.limits),
        ("requests", resources.requests),
        ("customResources", resources.custom_resources),
    ):
        for name, quantity in quantities.items():
            if not _is_resource(name):
                raise InvalidInput(f"{at}.{field}", f"{name[:80]!r} is not the name of a resource")
            _check_quantity(f"{at}.{field}.{name}", name, quantity)
    if resources.default_resource_quota:
        try:
            share = Decimal(resources.default_resource_quota)
        except InvalidOperation:
            return  # upstream falls back to 0.1 (contract §3.2), and so does the materialization
        if not share.is_finite() or not 0 < share <= 1:
            raise InvalidInput(f"{at}.defaultResourceQuota", f"{share} is not above 0 and at most 1")


def _check_quantity(at: str, name: str, quantity: str) -> None:
    """`name` is that of the resource. Devices are counted whole, and there is no part of a byte."""
    value = parse_quantity(at, quantity)
    if "/" in name and value != int(value):
        raise InvalidInput(at, f"{quantity[:64]!r} is not a whole number, which a device is counted in")
    if name.startswith(_BYTES) and quantity.endswith(_FRACTIONS):
        raise InvalidInput(
            at, f"{quantity[:64]!r} is a part of a byte; {quantity[:64].rstrip('mun')}Mi may be meant"
        )


def _is_resource(name: str) -> bool:
    """Of Kubernetes' own, or of a device, whose name tells whose it is."""
    return name in _NATIVE or name.startswith("hugepages-") or ("/" in name and _is_qualified(name))


def _is_qualified(name: str) -> bool:
    """`name`, or `domain/name`."""
    domain, slash, last = name.rpartition("/")
    return bool(_NAME_PART.fullmatch(last) and (not slash or _SUBDOMAIN.fullmatch(domain)))


def _check_annotations(at: str, annotations: Mapping[str, str]) -> None:
    for key in annotations:
        if not _is_qualified(key.lower()):  # the API server looks at them in lower case, unlike at labels
            raise InvalidInput(at, f"{key[:80]!r} is not the key of an annotation")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > _ANNOTATIONS:
        raise InvalidInput(
            at, f"have {size} bytes together, more than the {_ANNOTATIONS} that Kubernetes takes"
        )


def _check_variable(at: str, variable: Mapping[str, Any]) -> None:
    name = variable.get("name")
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise InvalidInput(f"{at}.name", f"{str(name)[:80]!r} is not the name of an environment variable")
    if not isinstance(variable.get("value", ""), str):
        raise InvalidInput(f"{at}.value", "is not a string; write numbers and booleans in quotes")
    if variable.get("value") and variable.get("valueFrom"):
        raise InvalidInput(at, "has both value and valueFrom, only one may be given")
    if "valueFrom" in variable:
        source = variable["valueFrom"]
        if not isinstance(source, dict) or len(source) != 1:
            raise InvalidInput(
                f"{at}.valueFrom", "is to name one source, such as a secretKeyRef, and no other"
            )


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
        inside = mount.get("subPath", "")
        if not isinstance(inside, str) or inside.startswith("/") or ".." in inside.split("/"):
            raise InvalidInput(
                f"{at}.{source}.subPath", f"{str(inside)[:80]!r} is not a path inside of the volume"
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
