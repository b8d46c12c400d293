"""What becomes of the values of upstream's four charts."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["UPSTREAM", "UpstreamValue"]


class UpstreamValue(NamedTuple):
    names: tuple[str, ...]
    becomes: tuple[str, ...] = ()
    """Values of the chart `nexus`: the same one where it is understood as it is; none where there is nothing to say."""
    remark: str = ""


def _same(*names: str, remark: str = "") -> UpstreamValue:
    return UpstreamValue(names, names, remark)


_AUTOSCALING = "scheduler.autoscaling"
_STORE = ("type", "secretRefEnabled", "secretName")

UPSTREAM: dict[str, tuple[UpstreamValue, ...]] = {
    "All four": (
        UpstreamValue(
            ("image.repository", "image.tag", "image.pullPolicy"),
            ("image.repository", "image.tag", "image.pullPolicy"),
            "One image for every role.",
        ),
        _same("imagePullSecrets", "nameOverride", "fullnameOverride"),
        _same("serviceAccount.create", "serviceAccount.annotations", remark="An account for each role."),
        UpstreamValue(("serviceAccount.name",), (), "The accounts are named `<fullname>-<role>`."),
        _same("additionalLabels", "additionalAnnotations", "extraEnv", "extraEnvFrom"),
        _same("extraVolumes", "extraVolumeMounts", "tolerations", "affinity"),
        UpstreamValue(
            ("resources",),
            ("api.resources", "scheduler.resources", "receiver.resources"),
            "And so for each role.",
        ),
        _same("securityContext", remark="Of the container; that of the pod is `podSecurityContext`."),
        UpstreamValue(
            ("datadog.*",),
            (),
            "Datadog's agent collects logs and `/metrics`: give its variables in `extraEnv`.",
        ),
    ),
    "nexus (the scheduler)": (
        UpstreamValue(
            ("rbac.clusterRole.*", "rbac.clusterRoleBindings.*"),
            ("rbac.create",),
            "Roles of the namespace, one for each account: [what they may do](permissions.md).",
        ),
        _same("ginMode", remark="Taken, without effect."),
        _same("topologySpread.maxSkew"),
        UpstreamValue(
            ("scheduler.replicas", "scheduler.maxUnavailable"),
            ("scheduler.replicas", "scheduler.maxUnavailable", "api.replicas", "api.maxUnavailable"),
            "Upstream's scheduler is two roles here: `api` takes requests, `scheduler` places them.",
        ),
        UpstreamValue(
            ("scheduler.maxReplicas", f"{_AUTOSCALING}.*"),
            ("api.autoscaling",),
            "The API scales; more schedulers would share the same rate.",
        ),
        _same(
            "scheduler.shardsConfigSecretName",
            remark="Empty: `nexus-workers` and `nexus-shards`, whichever are there.",
        ),
        _same(
            "scheduler.config.enabled",
            "scheduler.config.runtimeNamespace",
            "scheduler.config.resourceNamespace",
        ),
        _same(
            "scheduler.config.maxPayloadSize", "scheduler.config.kubeConfigPath", "scheduler.config.logLevel"
        ),
        _same("scheduler.config.shardKubeConfigPath"),
        _same(
            "scheduler.config.s3Buffer.payloadStoragePath",
            "scheduler.config.s3Buffer.processing.payloadStoragePath",
            remark="Either.",
        ),
        _same(
            "scheduler.config.s3Buffer.processing.rateLimitElementsPerSecond",
            "scheduler.config.s3Buffer.processing.rateLimitElementsBurst",
            remark="Of a cluster, and not of a replica: `config.throttle` says it better.",
        ),
        _same(
            *(
                f"scheduler.config.s3Buffer.processing.{name}"
                for name in ("payloadValidFor", "failureRateBaseDelay", "failureRateMaxDelay", "workers")
            ),
            remark="Taken, without effect: the variables above say why.",
        ),
        _same(
            "scheduler.config.s3Buffer.processing.payloadProxy.externalName",
            "scheduler.config.s3Buffer.processing.payloadProxy.insecure",
        ),
        _same(
            "scheduler.config.s3Buffer.s3Credentials.secretRefEnabled",
            "scheduler.config.s3Buffer.s3Credentials.secretName",
            remark="Given to the API, the scheduler, the receiver and the supervisor, whatever is in `extraEnvFrom`.",
        ),
        _same(
            *(f"scheduler.config.cqlStore.{name}" for name in _STORE),
            "scheduler.config.checkpointStore.type",
            "scheduler.config.checkpointStore.secretName",
            remark="Given to every role that has to do with rows.",
        ),
        UpstreamValue(
            ("Secret `nexus-sign-key`",), ("signKey.secretName", "signKey.entry"), "Made where none is named."
        ),
    ),
    "nexus-receiver": (
        UpstreamValue(
            ("receiver.replicas", "receiver.maxUnavailable", "receiver.autoscaling.*"),
            ("receiver.replicas", "receiver.maxUnavailable", "receiver.autoscaling"),
        ),
        UpstreamValue(
            ("receiver.config.logLevel", "receiver.config.cqlStore.*"),
            ("config", "scheduler.config.cqlStore.secretName"),
            "Said once, for all roles.",
        ),
        UpstreamValue(
            ("receiver.config.bindPort", "receiver.config.rateLimit*"), (), "Every pod listens on 8080."
        ),
    ),
    "nexus-supervisor": (
        UpstreamValue(("supervisor.replicas",), ("supervisor.replicas",), "More than one is fine."),
        UpstreamValue(
            ("supervisor.config.resourceNamespace",),
            ("scheduler.config.runtimeNamespace",),
            "Said once, for all roles.",
        ),
        UpstreamValue(
            (
                "supervisor.config.kubeConfigPath",
                "supervisor.config.processing.*",
                "supervisor.config.cqlStore.*",
            ),
            (),
            "It runs on the cluster of its Jobs, with the account that it has there.",
        ),
        UpstreamValue(("logging.level",), ("config",), "`config.logging.level`."),
    ),
    "nexus-configuration-controller": (
        UpstreamValue(("controller.shardsConfigSecretName",), ("controller.shardsConfigSecretName",)),
        UpstreamValue(
            ("controller.namespace", "controller.logLevel"), ("config",), "Said once, for all roles."
        ),
        UpstreamValue(
            ("controller.alias",), ("config",), "What it writes bears `config.placement.installation`."
        ),
        UpstreamValue(
            ("controller.kubeConfigPath", "controller.shardsConfigPath"),
            ("scheduler.config.kubeConfigPath", "scheduler.config.shardKubeConfigPath"),
        ),
        UpstreamValue(
            ("controller.workers", "controller.backOff*", "controller.rateLimit*", "environment"),
            (),
            "A queue for each shard, with pauses that grow; several replicas, of which one leads.",
        ),
    ),
    "nexus-crd": (
        UpstreamValue(
            ("(templates only)",), (), "The chart `nexus-crd`; what upstream has stored stays valid."
        ),
    ),
}
