"""What handlers take: the services, and the parameters that many paths share."""

from __future__ import annotations

from litestar.di import NamedDependency
from litestar.params import FromPath

from api.services import Services

__all__ = ["Algorithm", "RequestId", "ServicesOf"]

ServicesOf = NamedDependency[Services]
Algorithm = FromPath[str]
RequestId = FromPath[str]
