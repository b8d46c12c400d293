"""The Secrets and ConfigMaps that a template names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nexus.domain.sync.objects import CONFIG_MAP, SECRET, Key

__all__ = ["references"]

_WHOLE = {"secretRef": SECRET, "configMapRef": CONFIG_MAP}
_PARTS = {"secretKeyRef": SECRET, "configMapKeyRef": CONFIG_MAP}
_MOUNTS = {"secretFileMounts": SECRET, "configurationFileMounts": CONFIG_MAP}


def references(spec: object) -> dict[Key, bool]:
    """Each, and whether the template's runs need it: one that every mention calls optional may be missing.

    Takes any `spec`: what has another shape than a template's names nothing.
    """
    needed: dict[Key, bool] = {}
    for key, needs in _mentions(_member(spec, "runtimeEnvironment")):
        needed[key] = needed.get(key, False) or needs
    return needed


def _mentions(environment: dict[str, Any]) -> Iterator[tuple[Key, bool]]:
    for source in _items(environment, "mappedEnvironmentVariables"):
        yield from _named(source, _WHOLE)
    for variable in _items(environment, "environmentVariables"):
        yield from _named(_member(variable, "valueFrom"), _PARTS)
    for member, kind in _MOUNTS.items():
        for name in _member(environment, member):
            yield Key(kind, name), True


def _named(holder: object, members: dict[str, str]) -> Iterator[tuple[Key, bool]]:
    for member, kind in members.items():
        reference = _member(holder, member)
        name = reference.get("name")
        if isinstance(name, str) and name:
            yield Key(kind, name), reference.get("optional") is not True


def _member(holder: object, name: str) -> dict[str, Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, dict) else {}


def _items(holder: dict[str, Any], name: str) -> list[object]:
    found = holder.get(name)
    return found if isinstance(found, list) else []
