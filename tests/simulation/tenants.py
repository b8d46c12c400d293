"""Who asks in a simulation, and whose that is: a token is the name of its holder."""

from __future__ import annotations

from api.access.entrance import Access
from nexus.domain.access import Subject, Tenant, Tenants, token_holder

__all__ = ["ACCESS", "CROWD", "HOLDERS", "SINGLE", "TENANTS"]

CROWD, SINGLE = "crowd", "single"
HOLDERS = ("light", "heavy", "nobody's")
"""Whose runs the storm has."""

TENANTS = Tenants(
    Tenant(name=name, subjects=(f"token:{name}",), weight=weight)
    for name, weight in (("light", 1), ("heavy", 3), (CROWD, 1), (SINGLE, 1))
)


async def _holder(token: str) -> Subject:
    return token_holder(token)


ACCESS = Access(subject=_holder, tenants=lambda: TENANTS)
