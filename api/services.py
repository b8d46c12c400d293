"""What the handlers work with. A composition root makes one of these; nothing here opens anything."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import msgspec

from nexus.domain.job import Materializer
from nexus.domain.payload import PayloadSigner
from nexus.journal import Journal
from nexus.ports import Claims, PayloadStore, RunStore, Templates

__all__ = ["Services"]


class Services(msgspec.Struct, frozen=True, kw_only=True):
    journal: Journal
    store: RunStore
    claims: Claims
    payloads: PayloadStore
    templates: Templates
    signer: PayloadSigner
    clusters: Collection[str]
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    host: str
    place_within: timedelta
    read_wait: timedelta
    inline_limit: int
    max_body: int
    materializer: Materializer
