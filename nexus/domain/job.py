"""Materialization: the `batch/v1` Job of a run, as contract §4 lays it down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from nexus.domain.duration import whole_seconds
from nexus.domain.errors import InvalidInput, Refused
from nexus.domain.events import RunRequested, event_id
from nexus.domain.observed import JobView
from nexus.domain.quantity import scale_cpu
from nexus.domain.template import AlgorithmSpec, ComputeResources, limits_of

__all__ = [
    "ALGORITHM",
    "COMPONENT",
    "COMPONENT_VALUE",
    "INSTALLATION",
    "REQUEST_ID",
    "Materializer",
    "encoded",
    "is_ours",
    "made_for",
]

GROUP = "science.sneaksanddata.com"
ALGORITHM = f"{GROUP}/algorithm-template-name"
COMPONENT = f"{GROUP}/nexus-component"
COMPONENT_VALUE = "algorithm-run"
INSTALLATION = f"{GROUP}/nexus-installation"
REQUEST_ID = f"{GROUP}/nexus-request-id"
DIGEST = f"{GROUP}/nexus-request-digest"

_DEFAULT_QUOTA = Decimal("0.1")


def is_ours(job: JobView, request: RunRequested, installation: str) -> bool:
    """Whether a Job found under a run's name is that run's Job and stays (law 5)."""
    return (
        job.metadata.deletion_timestamp is None
        and job.metadata.annotations.get(INSTALLATION) == installation
        and made_for(job, request)
    )


def made_for(job: JobView, request: RunRequested) -> bool:
    """Whether this very request was materialized as that Job."""
    annotations = job.metadata.annotations
    return annotations.get(REQUEST_ID) == request.request_id and annotations.get(DIGEST) == event_id(request)


def encoded(job: Mapping[str, Any]) -> bytes:
    """The Job as it is sent. Raises Refused (422) for what JSON cannot hold."""
    try:
        return msgspec.json.encode(job)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Refused(422, f"the Job is invalid, and cannot be sent: {error}") from error


class Materializer(msgspec.Struct, frozen=True):
    """Makes Jobs for one installation. `version` is a label value such as `0.1.0-1`."""

    installation: str
    version: str
    ttl_after_finished: timedelta

    def job(
        self,
        request: RunRequested,
        payload_url: str,
        parent_uid: str = "",
        variables: Mapping[str, str] = {},
    ) -> dict[str, Any]:
        """The Job as API JSON. `parent_uid` is that of the parent's Job where it lives on the same cluster.

        `variables` are added to those of the algorithm, and win.

        Raises InvalidInput for a request that an earlier release let pass, and no Job can be made of.
        """
        try:
            return self._job(request, payload_url, parent_uid, variables)
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise InvalidInput("", f"no Job can be made of the request: {error!r}") from error

    def _job(
        self, request: RunRequested, payload_url: str, parent_uid: str, variables: Mapping[str, str]
    ) -> dict[str, Any]:
        spec = request.spec
        run = spec.runtime_environment
        labels = {
            ALGORITHM: request.algorithm,
            f"{GROUP}/nexus-version": self.version,
            COMPONENT: COMPONENT_VALUE,
        }
        annotations = run.annotations | {
            INSTALLATION: self.installation,
            REQUEST_ID: request.request_id,
            DIGEST: event_id(request),
        }
        owners = []
        if request.parent and parent_uid:
            name = request.parent.request_id
            owners = [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": parent_uid}]
        job_spec = {
            "backoffLimit": run.maximum_retries,
            "activeDeadlineSeconds": run.deadline_seconds,
            "ttlSecondsAfterFinished": whole_seconds(self.ttl_after_finished),
            "podFailurePolicy": {"rules": _failure_rules(spec)},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": _pod_spec(request, payload_url, variables),
            },
        }
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": request.request_id,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": owners,
            },
            "spec": _given(job_spec),
        }


def _pod_spec(request: RunRequested, payload_url: str, variables: Mapping[str, str]) -> dict[str, Any]:
    spec = request.spec
    volumes, mounts = _volumes(spec)
    container = {
        "name": request.request_id,
        "image": f"{spec.container.registry}/{spec.container.image}:{spec.container.version_tag}",
        "imagePullPolicy": "IfNotPresent",
        # Upstream splits at single spaces, so that two of them make an empty argument; nobody means that.
        "command": spec.command.split(),
        "args": [_argument(arg, payload_url, request.request_id) for arg in spec.args],
        "env": [*spec.runtime_environment.environment_variables, *_environment(request, variables)],
        "envFrom": spec.runtime_environment.mapped_environment_variables,
        "resources": _resources(spec.compute_resources),
        "volumeMounts": mounts,
        # Where an algorithm says nothing of its end, its last lines of log do.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return _given(
        {
            "restartPolicy": "Never",
            "serviceAccountName": spec.container.service_account_name,
            "affinity": request.placement.affinity,
            "tolerations": request.placement.tolerations,
            "containers": [_given(container)],
            "volumes": volumes,
        }
    )


def _argument(arg: str, payload_url: str, request_id: str) -> str:
    """An argument that mentions its keyword is a printf format with one verb (contract §4.3)."""
    for keyword, value in (("sas-uri", payload_url), ("request-id", request_id)):
        if keyword in arg:
            parts = arg.split("%%")
            return "%".join(part.replace("%s", value).replace("%v", value) for part in parts)
    return arg


def _environment(request: RunRequested, given: Mapping[str, str]) -> Iterable[dict[str, str]]:
    variables = {"NEXUS__ALGORITHM_NAME": request.algorithm, "NEXUS__SHARD_NAME": request.cluster}
    if request.parent:
        variables["NEXUS__PARENT_REQUEST_ID"] = request.parent.request_id
        variables["NEXUS__PARENT_ALGORITHM_NAME"] = request.parent.algorithm_name
    return ({"name": name, "value": value} for name, value in (variables | {**given}).items())


def _resources(resources: ComputeResources) -> dict[str, dict[str, str]]:
    limits = limits_of(resources)
    requests = dict(resources.requests)
    if not requests:
        requests = dict(limits)
        if "cpu" in limits:
            requests["cpu"] = scale_cpu("computeResources.limits.cpu", limits["cpu"], _quota(resources))
    return _given(
        {"limits": limits | resources.custom_resources, "requests": requests | resources.custom_resources}
    )


def _quota(resources: ComputeResources) -> Decimal:
    """Upstream reads what it cannot parse as 0.1 (contract §3.2)."""
    try:
        return Decimal(resources.default_resource_quota or _DEFAULT_QUOTA)
    except InvalidOperation:
        return _DEFAULT_QUOTA


def _volumes(spec: AlgorithmSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and their mounts, in the order of the manifest."""
    run = spec.runtime_environment
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if spec.datadog_integration_settings.mount_datadog_socket:
        volumes.append({"name": "dsdsocket", "hostPath": {"path": "/var/run/datadog/"}})
        mounts.append({"name": "dsdsocket", "mountPath": "/var/run/datadog"})
    for mapping, source in (
        (run.configuration_file_mounts, _config_map),
        (run.secret_file_mounts, _secret),
        (run.storage_mounts, _storage),
    ):
        for name, mount in mapping.items():
            volumes.append({"name": mount["name"], **source(name)})
            mounts.append(mount)
    return volumes, mounts


def _config_map(name: str) -> dict[str, Any]:
    return {"configMap": {"name": name}}


def _secret(name: str) -> dict[str, Any]:
    return {"secret": {"secretName": name}}


def _storage(name: str) -> dict[str, Any]:
    return {"emptyDir": {}} if name == "emptyDir" else {"persistentVolumeClaim": {"claimName": name}}


def _failure_rules(spec: AlgorithmSpec) -> list[dict[str, Any]]:
    """In order: a disruption is nobody's fault, a fatal code ends the Job, a transient one does not count."""
    rules: list[dict[str, Any]] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    errors = spec.error_handling_behaviour
    for action, codes in (("FailJob", errors.fatal_exit_codes), ("Ignore", errors.transient_exit_codes)):
        if codes:
            # The API server wants them sorted and each once.
            rules.append({"action": action, "onExitCodes": {"operator": "In", "values": sorted(set(codes))}})
    return rules


def _given(mapping: dict[str, Any]) -> dict[str, Any]:
    """Without what is unset: the API server's default is meant there."""
    return {key: value for key, value in mapping.items() if value not in (None, "", [], {})}
