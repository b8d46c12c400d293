"""Templates and workgroups: the fields of contract §3, in both strata, and the merge of a run's overrides (§3.4)."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from nexus.domain.canonical import Canonical
from nexus.domain.decoding import converted
from nexus.domain.errors import InvalidInput
from nexus.domain.plain import check_plain

__all__ = [
    "OVERRIDABLE",
    "AlgorithmSpec",
    "ComputeResources",
    "Template",
    "Workgroup",
    "WorkgroupSpec",
    "algorithm_spec",
    "limits_of",
    "merge",
    "workgroup_spec",
]

S = TypeVar("S", bound=msgspec.Struct)

_UNQUOTED = {f"Expected `str`, got `{kind}`" for kind in ("int", "float", "bool")}
"""What YAML reads of `versionTag: 1.10`."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of a manifest. Unknown members are dropped, as a CRD prunes them."""


class Container(_Section, frozen=True):
    image: str = ""
    registry: str = ""
    version_tag: str = ""
    service_account_name: str = ""


class ComputeResources(_Section, frozen=True):
    cpu_limit: str = ""
    memory_limit: str = ""
    custom_resources: dict[str, str] = {}
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    default_resource_quota: str = ""


class WorkgroupRef(_Section, frozen=True):
    name: str = ""
    group: str = ""
    kind: str = ""


class RuntimeEnvironment(_Section, frozen=True):
    """Variables and mounts stay in Kubernetes' own shape: corev1.EnvVar, EnvFromSource and VolumeMount."""

    environment_variables: list[dict[str, Any]] = []
    mapped_environment_variables: list[dict[str, Any]] = []
    annotations: dict[str, str] = {}
    deadline_seconds: int | None = None
    maximum_retries: int | None = None
    configuration_file_mounts: dict[str, dict[str, Any]] = {}
    secret_file_mounts: dict[str, dict[str, Any]] = {}
    storage_mounts: dict[str, dict[str, Any]] = {}


class ErrorHandlingBehaviour(_Section, frozen=True):
    transient_exit_codes: list[int] = []
    fatal_exit_codes: list[int] = []


class DatadogIntegrationSettings(_Section, frozen=True):
    mount_datadog_socket: bool | None = None


class PayloadConfiguration(_Section, frozen=True):
    payload_valid_for: str = ""
    payload_serialization_mode: str = ""


class AlgorithmSpec(Canonical, _Section, frozen=True):
    """The `spec` of a NexusAlgorithmTemplate. Every section may be missing: overrides name only what they change."""

    container: Container = Container()
    command: str = ""
    args: list[str] = []
    compute_resources: ComputeResources = ComputeResources()
    workgroup_ref: WorkgroupRef = WorkgroupRef()
    runtime_environment: RuntimeEnvironment = RuntimeEnvironment()
    error_handling_behaviour: ErrorHandlingBehaviour = ErrorHandlingBehaviour()
    datadog_integration_settings: DatadogIntegrationSettings = DatadogIntegrationSettings()
    payload_configuration: PayloadConfiguration = PayloadConfiguration()


OVERRIDABLE: dict[str, tuple[str, ...]] = {
    "container": ("image", "registry", "version_tag"),
    "compute_resources": ("cpu_limit", "memory_limit", "limits", "requests"),
    "workgroup_ref": ("name", "group", "kind"),
    "runtime_environment": ("deadline_seconds", "maximum_retries"),
}
"""What a run may change of its template (contract §3.4), by section; the rest is ignored."""


class WorkgroupSpec(_Section, frozen=True):
    """The `spec` of a NexusAlgorithmWorkgroup. `cluster` is the shard; capabilities inform and are not enforced."""

    description: str = ""
    cluster: str = ""
    capabilities: dict[str, bool] = {}
    tolerations: list[dict[str, Any]] = []
    affinity: dict[str, Any] = {}


class Template(msgspec.Struct, frozen=True):
    name: str
    spec: AlgorithmSpec


class Workgroup(msgspec.Struct, frozen=True):
    name: str
    spec: WorkgroupSpec


def algorithm_spec(manifest: object, field: str) -> AlgorithmSpec:
    """Decode a template's spec or a run's overrides; InvalidInput names the member below `field`."""
    check_plain(manifest, field)
    plain = _without_nulls(manifest)
    if isinstance(plain, dict) and isinstance(payload := plain.get("payloadConfiguration"), dict):
        # A+ wrote the key without "Mode"; both are read and one is written.
        mode = payload.pop("payloadSerialization", None)
        if mode is not None:
            payload.setdefault("payloadSerializationMode", mode)
    return _convert(plain, AlgorithmSpec, field)


def workgroup_spec(manifest: object, field: str) -> WorkgroupSpec:
    """Decode a workgroup's spec; InvalidInput names the member below `field`."""
    check_plain(manifest, field)
    return _convert(_without_nulls(manifest), WorkgroupSpec, field)


def limits_of(resources: ComputeResources) -> dict[str, str]:
    """`limits` where given, else the older pair of `cpuLimit` and `memoryLimit` (contract §4.5)."""
    if resources.limits:
        return dict(resources.limits)
    pair = {"cpu": resources.cpu_limit, "memory": resources.memory_limit}
    return {name: quantity for name, quantity in pair.items() if quantity}


def merge(template: AlgorithmSpec, overrides: AlgorithmSpec | None) -> AlgorithmSpec:
    """The configuration that applies to a run: what contract §3.4 honours, and nothing else, is taken from overrides."""
    if overrides is None:
        return template
    return replace(
        template,
        container=_given(template, overrides, "container"),
        compute_resources=_merge_resources(template.compute_resources, overrides.compute_resources),
        workgroup_ref=_given(template, overrides, "workgroup_ref"),
        runtime_environment=_given(template, overrides, "runtime_environment"),
    )


def _merge_resources(template: ComputeResources, overrides: ComputeResources) -> ComputeResources:
    """An override in either form wins over both forms of the template."""
    merged = _non_empty(template, overrides, ("cpu_limit", "memory_limit"))
    if template.limits or overrides.limits:
        pair = replace(overrides, limits={})
        limits = limits_of(template) | limits_of(pair) | overrides.limits
        merged = replace(merged, limits=limits, cpu_limit="", memory_limit="")
    if overrides.requests:
        merged = replace(merged, requests=template.requests | overrides.requests)
    return merged


def _given(template: AlgorithmSpec, overrides: AlgorithmSpec, section: str) -> Any:
    return _non_empty(getattr(template, section), getattr(overrides, section), OVERRIDABLE[section])


def _non_empty(base: S, override: S, fields: tuple[str, ...]) -> S:
    given = {name: getattr(override, name) for name in fields}
    return replace(base, **{name: value for name, value in given.items() if value not in {None, ""}})


def _without_nulls(value: object) -> object:
    """Go clients write `null` for what is unset, and it means just that."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _convert(value: object, shape: type[S], field: str) -> S:
    try:
        return converted(value, shape, field)
    except InvalidInput as error:
        if error.problem not in _UNQUOTED:
            raise
        raise InvalidInput(error.field, f"{error.problem}; write it in quotes") from None
