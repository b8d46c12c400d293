"""What the caller may do, and by which rule: asked before it is tried."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromQuery, QueryParameter

from api.access.caller import CallerOf
from api.own.problems import problems
from nexus.domain.access import Override, Verb
from nexus.views import AccessView

__all__ = ["access_routes"]


@get(
    "/api/v1/access",
    summary="Whether the caller may do something",
    tags=["api"],
    responses=problems(400, 503),
)
async def get_access(
    caller: CallerOf,
    verb: FromQuery[Verb],
    algorithm: Annotated[
        str | None, QueryParameter(description="None: whether with any at all", max_length=500)
    ] = None,
    override: Annotated[
        list[Override] | None, QueryParameter(description="What the run would choose of its template")
    ] = None,
) -> AccessView:
    """Answers with the rule that decided."""
    decision = caller.decision(verb, algorithm, frozenset(override or ()))
    return AccessView(
        subject=caller.name,
        groups=caller.subject.groups,
        allowed=decision.allowed,
        rule=decision.rule,
        reason=decision.reason,
        tenant=caller.tenant.name,
        limits=caller.tenant.limits,
    )


access_routes = [get_access]
