"""Which clusters there are, and how to be let in: contract §9.1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from nexus.config import Config
from nexus.domain.errors import ConfigError
from nexus.kubernetes.credentials import Load, from_kubeconfig, from_service_account

__all__ = ["Shards", "find", "of_custom_resources", "shards"]

_SUFFIXES = {"", ".kubeconfig", ".json"}
"""Upstream's own example names the key of a secret after the cluster, and nothing more."""


class Shards(msgspec.Struct, frozen=True):
    """How to be let into each cluster, by name, and what is wrong with some of the files."""

    found: dict[str, Load]
    problems: list[str]


def shards(config: Config) -> dict[str, Load]:
    """By name; empty where no cluster is configured. Raises ConfigError where there is any problem."""
    there = find(config)
    if there.problems:
        raise ConfigError(there.problems[0])
    if not there.found and config.kubernetes.kubeconfig is not None:
        raise ConfigError(
            f"kubernetes.kubeconfig: the folder {config.kubernetes.kubeconfig} has no <cluster>.kubeconfig file"
        )
    return there.found


def find(config: Config) -> Shards:
    """What there is now. A file of a folder is named up to its first dot. Raises ConfigError for a folder that cannot be read.

    A mounted Secret has hidden entries as well, and a folder may hold what the kubeconfigs name, such as `ca.crt`.
    """
    settings = config.kubernetes
    there = Shards({}, [])
    if settings.in_cluster:
        there.found[config.cluster.name] = from_service_account()
    if settings.kubeconfig is None:
        return there
    if not settings.kubeconfig.is_dir():
        there.found[config.cluster.name] = from_kubeconfig(settings.kubeconfig)
        return there
    for file in _files(settings.kubeconfig):
        name = file.name.partition(".")[0]
        if name in there.found:
            there.problems.append(
                f"kubernetes.kubeconfig: {file} names a second cluster {name!r}: rename the file"
            )
        elif name in settings.removed_clusters:
            there.problems.append(
                f"kubernetes.removed names {name}, which is configured as well: "
                f"take {file} away, or its name from kubernetes.removed"
            )
        else:
            there.found[name] = from_kubeconfig(file)
    return there


def _files(folder: Path) -> Iterator[Path]:
    try:
        for file in sorted(folder.iterdir()):
            if not file.name.startswith(".") and file.suffix in _SUFFIXES and file.is_file():
                yield file
    except OSError as error:
        raise ConfigError(
            f"kubernetes.kubeconfig: the folder {folder} cannot be read ({error}): see whether it is mounted"
        ) from error


def of_custom_resources(config: Config) -> Load | None:
    """How to be let into the cluster that has them; None where nothing but the execution clusters may have them."""
    if config.templates.kubeconfig is not None:
        return from_kubeconfig(config.templates.kubeconfig)
    return from_service_account() if config.templates.in_cluster else None
