"""The caller of a request: a subject, and the rules by which it is judged."""

from __future__ import annotations

from typing import Any, NamedTuple

from litestar import Request
from litestar.di import NamedDependency, Provide

from nexus.domain.access import (
    ANYBODY,
    EVERYTHING,
    REST,
    Decision,
    Override,
    Rules,
    Subject,
    Tenant,
    Verb,
)
from nexus.domain.errors import Forbidden

__all__ = ["Caller", "CallerOf", "provided_caller"]


class Caller(NamedTuple):
    """`capability` is what an algorithm brought whose run is not known yet: until then no rule is for it."""

    subject: Subject
    rules: Rules
    tenant: Tenant = REST
    capability: str = ""

    @property
    def name(self) -> str:
        """As it goes into events; empty where nobody has to say who it is."""
        return self.subject.name

    def decision(
        self, verb: Verb, algorithm: str | None = None, overrides: frozenset[Override] = frozenset()
    ) -> Decision:
        return self.rules.decide(self.subject, verb, algorithm, overrides)

    def may(self, verb: Verb, algorithm: str) -> bool:
        return self.decision(verb, algorithm).allowed

    def sees(self, algorithm: str) -> bool:
        """Whether runs of it are in the lists that this caller gets."""
        return self.may(Verb.LIST, algorithm) and self.may(Verb.READ, algorithm)

    def require(
        self, verb: Verb, algorithm: str | None = None, overrides: frozenset[Override] = frozenset()
    ) -> None:
        """Raises Forbidden where no rule allows it."""
        decision = self.decision(verb, algorithm, overrides)
        if not decision.allowed:
            raise Forbidden(decision.reason)


CallerOf = NamedDependency[Caller]

EVERYBODY = Caller(ANYBODY, EVERYTHING)


def _caller(request: Request[Any, Any, Any]) -> Caller:
    found: Caller = request.scope["user"]
    return found


provided_caller = Provide(_caller, sync_to_thread=False)
