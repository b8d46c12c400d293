"""Templates and workgroups as they are deployed: read and checked, a broken one kept as what is wrong with it."""

from __future__ import annotations

from typing import TypeVar

from nexus.domain.access import fixed
from nexus.domain.errors import InvalidInput
from nexus.domain.template import Template, Workgroup, algorithm_spec, workgroup_spec
from nexus.domain.validation import check_template, check_workgroup

__all__ = ["TEMPLATE", "WORKGROUP", "read_template", "read_workgroup", "usable"]

TEMPLATE = "NexusAlgorithmTemplate"
WORKGROUP = "NexusAlgorithmWorkgroup"

T = TypeVar("T")


def read_template(name: str, spec: object) -> Template:
    """Raises InvalidInput that names the member."""
    template = Template(name, algorithm_spec(spec, "spec"))
    check_template(name, template.spec)
    fixed(template.spec)  # an annotation that cannot be read would keep nothing to the template
    return template


def read_workgroup(name: str, spec: object) -> Workgroup:
    """Raises InvalidInput that names the member."""
    workgroup = Workgroup(name, workgroup_spec(spec, "spec"))
    check_workgroup(workgroup)
    return workgroup


def usable(found: T | InvalidInput | None) -> T | None:
    """What was found; raises what is wrong with it."""
    if isinstance(found, InvalidInput):
        # One that is raised again and again gathers a traceback each time.
        raise InvalidInput(found.field, found.problem)
    return found
