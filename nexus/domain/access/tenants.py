"""Tenants: who share what there is, by weight. Each submission belongs to one, from the moment when it is accepted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated

import msgspec

from nexus.domain.access.subject import Subject, matches

__all__ = ["NO_TENANTS", "REST", "Tenant", "Tenants"]

_REMEMBERED = 10_000
"""Subjects of which it is kept whose they are."""

Weight = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Limit = Annotated[int, msgspec.Meta(ge=1)]


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """`subjects` are names or globs as in rules. `weight` is its share of the Jobs that wait to start, beside the others'.

    The limits are for each server of the API; None: there is none.
    """

    name: str
    subjects: tuple[str, ...]
    weight: Weight = 1
    requests_per_second: Limit | None = None
    bytes_per_second: Limit | None = None
    """Of the bodies of requests, as they come over the line."""
    max_queued: Limit | None = None
    """Its runs that wait for their Jobs."""

    @property
    def limits(self) -> dict[str, int]:
        """Those that there are and the weight, by the names that they have in the file."""
        written = msgspec.to_builtins(self)
        return {name: value for name, value in written.items() if isinstance(value, int)}


REST = Tenant(name="", subjects=("*",))
"""Whoever is of no other tenant: with no tenants configured, everybody."""


class Tenants:
    """The first tenant that has a subject, by its name or by one of its groups, is the subject's."""

    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        self.tenants: Sequence[Tenant] = tuple(tenants)
        self.of = lru_cache(_REMEMBERED)(self._of)

    def _of(self, subject: Subject) -> Tenant:
        """Whose tenant the subject is."""
        return next((tenant for tenant in self.tenants if matches(tenant.subjects, subject)), REST)


NO_TENANTS = Tenants()
