"""What a file says of who may do what, and of how much: rules and tenants."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nexus.domain.access.rules import Rule, Rules, check_rule, check_subjects
from nexus.domain.access.tenants import Tenant, Tenants
from nexus.domain.decoding import converted
from nexus.domain.errors import InvalidInput

__all__ = ["Policy", "read_policy"]


class Policy(msgspec.Struct, frozen=True):
    rules: Rules
    tenants: Tenants


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[Rule]
    tenants: list[Tenant] = []


def read_policy(document: object, field: str) -> Policy:
    """Read plain data: `{"rules": [...], "tenants": [...]}`. Raises InvalidInput that names the member below `field`."""
    read = converted(document, _Document, field)
    _check_names([rule.name for rule in read.rules], f"{field}.rules", "rule")
    for number, rule in enumerate(read.rules):
        check_rule(rule, f"{field}.rules[{number}]")
    _check_names([tenant.name for tenant in read.tenants], f"{field}.tenants", "tenant")
    for number, tenant in enumerate(read.tenants):
        check_subjects(tenant.subjects, f"{field}.tenants[{number}].subjects")
    return Policy(Rules(read.rules), Tenants(read.tenants))


def _check_names(names: Sequence[str], at: str, kind: str) -> None:
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            raise InvalidInput(f"{at}[{number}].name", f"{name!r} must be a name that no other {kind} has")
