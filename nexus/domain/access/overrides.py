"""What a run may choose of its template: each a permission of its own, and each of them the template may keep to itself."""

from __future__ import annotations

from enum import StrEnum

from nexus.domain.errors import InvalidInput
from nexus.domain.template import OVERRIDABLE, AlgorithmSpec

__all__ = ["FIXED", "Override", "asked", "fixed"]

FIXED = "science.sneaksanddata.com/fixed"
"""The annotation of a template (`runtimeEnvironment.annotations`) that names what no run may choose, with commas between."""


class Override(StrEnum):
    """A part of `customConfiguration`. Who may choose the image runs any code with the template's service account."""

    IMAGE = "image"
    RESOURCES = "resources"
    DEADLINE = "deadline"
    WORKGROUP = "workgroup"


_SECTIONS = {
    Override.IMAGE: "container",
    Override.RESOURCES: "compute_resources",
    Override.DEADLINE: "runtime_environment",
    Override.WORKGROUP: "workgroup_ref",
}


def asked(overrides: AlgorithmSpec | None) -> frozenset[Override]:
    """What these overrides choose: an empty section chooses nothing."""
    if overrides is None:
        return frozenset()
    return frozenset(each for each, section in _SECTIONS.items() if _has_values(overrides, section))


def fixed(template: AlgorithmSpec) -> frozenset[Override]:
    """What no run of this template may choose. Raises InvalidInput for an annotation that names something else."""
    text = template.runtime_environment.annotations.get(FIXED, "")
    try:
        return frozenset(Override(name) for part in text.split(",") if (name := part.strip()))
    except ValueError as error:
        raise InvalidInput(
            f"spec.runtimeEnvironment.annotations.{FIXED}",
            f"{error}: write some of {', '.join(Override)}, with commas between",
        ) from None


def _has_values(overrides: AlgorithmSpec, section: str) -> bool:
    given = getattr(overrides, section)
    return any(getattr(given, name) not in (None, "", {}) for name in OVERRIDABLE[section])
