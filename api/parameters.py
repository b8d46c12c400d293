"""What handlers take: the context, and the parameters that many paths share."""

from __future__ import annotations

from litestar.di import NamedDependency
from litestar.params import FromPath

from api.context import ApiContext

__all__ = ["Algorithm", "ContextOf", "RequestId"]

ContextOf = NamedDependency[ApiContext]
Algorithm = FromPath[str]
RequestId = FromPath[str]
