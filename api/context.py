"""What the handlers work with. A composition root makes one of these; nothing here opens anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine
from datetime import datetime, timedelta
from typing import Any

import msgspec

from api.access.entrance import Access
from api.access.reports import Reports
from api.bodies.intake import BodyLimits
from api.origins import Origins
from api.queues import Queues
from api.verdicts import Verdicts
from nexus.cordons import Cordons
from nexus.domain.job import Materializer
from nexus.domain.payload import PayloadSigner
from nexus.journal import Journal
from nexus.ports import Claims, PayloadStore, PayloadUrls, RunStore, Templates
from nexus.views import GarbageReport

__all__ = ["ApiContext"]


async def _always(_: str) -> bool:
    return True


class ApiContext(msgspec.Struct, frozen=True, kw_only=True):
    journal: Journal
    store: RunStore
    claims: Claims
    payloads: PayloadStore
    templates: Templates
    signer: PayloadSigner
    urls: PayloadUrls
    clusters: Collection[str]
    """Those that are configured, as they come and go."""
    is_followed: Callable[[str], Awaitable[bool]] = _always
    """Whether the ledgers fold what is requested for this cluster."""
    cordons: Cordons
    removed: Collection[str] = ()
    """Clusters that are gone for good."""
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    host: str
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    place_within: timedelta
    disown_after: timedelta
    """After which no append is under way any more whose outcome was unknown."""
    unreachable_after: timedelta
    garbage: Callable[[int], Awaitable[GarbageReport]]
    """What would be swept up, at most so many."""
    read_wait: timedelta
    inline_limit: int
    max_body: int
    bodies: BodyLimits = BodyLimits()
    origins: Origins = Origins()
    access: Access = Access()
    reports: Reports = msgspec.field(default_factory=Reports)
    queues: Queues
    materializer: Materializer
    verdicts: Verdicts
