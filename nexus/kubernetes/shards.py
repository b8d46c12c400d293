"""Which clusters there are, and how to be let in: contract §9.1."""

from __future__ import annotations

from nexus.config import Config
from nexus.domain.errors import ConfigError
from nexus.kubernetes.credentials import Load, from_kubeconfig, from_service_account

__all__ = ["of_custom_resources", "shards"]

_SUFFIXES = {"", ".kubeconfig", ".json"}
"""Upstream's own example names the key of a secret after the cluster, and nothing more."""


def shards(config: Config) -> dict[str, Load]:
    """By name; empty where no cluster is configured. A file of a folder is named up to its first dot.

    A mounted Secret has hidden entries as well, and a folder may hold what the kubeconfigs name, such as `ca.crt`.
    """
    settings = config.kubernetes
    found: dict[str, Load] = {}
    if settings.in_cluster:
        found[config.cluster.name] = from_service_account()
    if settings.kubeconfig is None:
        return found
    if not settings.kubeconfig.is_dir():
        return found | {config.cluster.name: from_kubeconfig(settings.kubeconfig)}
    for file in sorted(settings.kubeconfig.iterdir()):
        if file.name.startswith(".") or file.suffix not in _SUFFIXES or not file.is_file():
            continue
        name = file.name.partition(".")[0]
        if name in found:
            raise ConfigError(
                f"kubernetes.kubeconfig: {file} names a second cluster {name!r}: rename the file"
            )
        found[name] = from_kubeconfig(file)
    if not found:
        raise ConfigError(
            f"kubernetes.kubeconfig: the folder {settings.kubeconfig} has no <cluster>.kubeconfig file"
        )
    return found


def of_custom_resources(config: Config) -> Load | None:
    """How to be let into the cluster that has them; None where nothing but the execution clusters may have them."""
    if config.templates.kubeconfig is not None:
        return from_kubeconfig(config.templates.kubeconfig)
    return from_service_account() if config.templates.in_cluster else None
