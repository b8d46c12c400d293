"""How this server lets callers in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from api.access.algorithms import Algorithms
from nexus.domain.access import EVERYTHING, NO_TENANTS, Rules, Subject, Tenants

__all__ = ["Access"]


class Access(NamedTuple):
    """How this server lets callers in. `subject` is None where nobody has to say who it is.

    `subject` tells whose a token is, and raises Unauthenticated or Unavailable; `rules` and `tenants` are those of the
    moment. `algorithms` are let in by their capability; None where Jobs have none.
    """

    subject: Callable[[str], Awaitable[Subject]] | None = None
    rules: Callable[[], Rules] = lambda: EVERYTHING
    tenants: Callable[[], Tenants] = lambda: NO_TENANTS
    algorithms: Algorithms | None = None
