"""Which clusters there are, and how to be let in: contract §9.1."""

from __future__ import annotations

from nexus.config import Config
from nexus.domain.errors import ConfigError
from nexus.kubernetes.credentials import Load, from_kubeconfig, from_service_account

__all__ = ["shards"]

_SUFFIX = ".kubeconfig"


def shards(config: Config) -> dict[str, Load]:
    """By name; empty where no cluster is configured. A file of a folder is named up to its first dot."""
    settings = config.kubernetes
    found: dict[str, Load] = {}
    if settings.in_cluster:
        found[config.cluster.name] = from_service_account()
    if settings.kubeconfig is None:
        return found
    if not settings.kubeconfig.is_dir():
        return found | {config.cluster.name: from_kubeconfig(settings.kubeconfig)}
    for file in sorted(settings.kubeconfig.iterdir()):
        if not file.name.endswith(_SUFFIX):
            continue
        name = file.name.partition(".")[0]
        if name in found:
            raise ConfigError(
                f"kubernetes.kubeconfig: {file} names a second cluster {name!r}: rename the file"
            )
        found[name] = from_kubeconfig(file)
    if not found:
        raise ConfigError(
            f"kubernetes.kubeconfig: the folder {settings.kubeconfig} has no <cluster>{_SUFFIX} file"
        )
    return found
