"""What handlers take: the context, the parameters that many paths share, and what came with the address."""

from __future__ import annotations

from typing import Any, NewType

from litestar import Request
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath

from api.context import ApiContext

__all__ = ["Algorithm", "CapabilityOf", "ContextOf", "RequestId", "provided_capability"]

ContextOf = NamedDependency[ApiContext]
Capability = NewType("Capability", str)
CapabilityOf = NamedDependency[Capability]
Algorithm = FromPath[str]
RequestId = FromPath[str]


def _capability(request: Request[Any, Any, Any]) -> Capability:
    """Empty where the address had none."""
    return Capability(request.scope.get("auth") or "")


provided_capability = Provide(_capability, sync_to_thread=False)
