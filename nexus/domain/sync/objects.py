"""Objects of the Kubernetes API as they are synced: templates, workgroups, and what templates name."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from nexus.domain.job import GROUP
from nexus.domain.manifest import TEMPLATE, WORKGROUP

__all__ = [
    "API_VERSIONS",
    "CONFIG_MAP",
    "FINALIZER",
    "KINDS",
    "MANAGER",
    "SECRET",
    "SOURCES",
    "Condition",
    "ConditionStatus",
    "Key",
    "Metadata",
    "Object",
    "Owner",
    "Status",
]

SECRET = "Secret"  # noqa: S105 - a kind
CONFIG_MAP = "ConfigMap"
SOURCES = (TEMPLATE, WORKGROUP)
"""What is synced for its own sake; the rest is synced because a template names it."""
API_VERSIONS = {TEMPLATE: f"{GROUP}/v1", WORKGROUP: f"{GROUP}/v1", SECRET: "v1", CONFIG_MAP: "v1"}
KINDS = tuple(API_VERSIONS)

MANAGER = "nexus-configuration-controller"
"""The field manager, and the component that Events name: those of upstream."""
FINALIZER = f"{GROUP}/{MANAGER}"
"""On a source: its deletion is seen as an object that is being deleted, and never as the absence of one."""

ConditionStatus = Literal["True", "False", "Unknown"]


class Key(NamedTuple):
    """An object among those of a namespace."""

    kind: str
    name: str


class _Shape(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class Owner(_Shape, frozen=True):
    api_version: str
    kind: str
    name: str
    uid: str


class _OwnedMetadata(msgspec.Struct, frozen=True):
    annotations: dict[str, Any] = msgspec.field(name="f:annotations", default_factory=dict)


class _Fields(msgspec.Struct, frozen=True):
    metadata: _OwnedMetadata = msgspec.field(name="f:metadata", default=_OwnedMetadata())


class Managed(_Shape, frozen=True):
    """Which annotations a field manager has put there."""

    manager: str = ""
    operation: str = ""
    fields_v1: _Fields = _Fields()


class Metadata(_Shape, frozen=True):
    name: str
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()
    finalizers: tuple[str, ...] = ()
    deletion_timestamp: str | None = None
    managed_fields: tuple[Managed, ...] = ()


class Condition(_Shape, frozen=True):
    """`observed_generation` is that of the spec which it is about."""

    type: str
    status: ConditionStatus
    reason: str
    message: str
    last_transition_time: str = ""
    observed_generation: int = 0


class Status(_Shape, frozen=True):
    """Of a template; a workgroup has conditions alone. A Go client writes null for an empty list."""

    conditions: tuple[Condition, ...] | None = None
    synced_secrets: tuple[str, ...] | None = None
    synced_configurations: tuple[str, ...] | None = None
    synced_to_clusters: tuple[str, ...] | None = None


class Object(_Shape, frozen=True):
    """Any of the four kinds: a `spec`, or what a Secret or a ConfigMap holds."""

    metadata: Metadata
    spec: Any = None
    type: str = ""
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool = False
    status: Status = Status()

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def owned_annotations(self) -> set[str]:
        """Those that were applied by the controller."""
        return {
            key.removeprefix("f:")
            for managed in self.metadata.managed_fields
            if (managed.manager, managed.operation) == (MANAGER, "Apply")
            for key in managed.fields_v1.metadata.annotations
            if key.startswith("f:")
        }
