"""Which clusters are cordoned: a fold of `nexus.clusters`, read from its beginning and followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from nexus.domain.cordon import Cordon, cordoned_after
from nexus.domain.errors import InvalidInput, Unavailable
from nexus.domain.events import ClusterCordoned, ClusterUncordoned
from nexus.domain.topics import CLUSTERS, read_event
from nexus.ports import EventLog

__all__ = ["Cordons"]

_log = structlog.get_logger(__name__)

_LOOK_AGAIN = 1.0
_GOOD_FOR = 10.0
"""Seconds after which what was read is no knowledge any more."""
_CHUNK = 500


class Cordons:
    """`monotonic` is in seconds. Before the first refresh nothing is known."""

    def __init__(self, log: EventLog, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._made = False
        self._next = 0
        self._read_at: float | None = None
        self._reading = asyncio.Lock()
        self.standing: dict[str, Cordon] = {}
        """By cluster, as of the last refresh."""

    def hold(self, cluster: str) -> bool:
        """Whether nothing may be started there: it is cordoned, or it has not been known for a while that it is not."""
        known = self._read_at is not None and self._monotonic() - self._read_at <= _GOOD_FOR
        return not known or cluster in self.standing

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.refresh()
            except Unavailable as error:
                _log.warning("cordons_not_read", problem=str(error))
            await asyncio.sleep(_LOOK_AGAIN)

    async def refresh(self) -> None:
        """Read what was appended since the last time. Raises Unavailable, and UnknownEvent for what a newer release wrote."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        asked = self._monotonic()
        # Before an installation of an earlier release has made it, nothing can be cordoned.
        self._made = self._made or CLUSTERS in await self._log.topics()
        while self._made and (records := await self._log.read(CLUSTERS, 0, self._next, _CHUNK)):
            for record in records:
                try:
                    event = read_event(record.headers, record.value)
                except InvalidInput as error:
                    _log.warning("cordon_not_read", offset=record.position.offset, problem=str(error))
                    continue
                if isinstance(event, ClusterCordoned | ClusterUncordoned):
                    self.standing = cordoned_after(self.standing, event)
            self._next = records[-1].position.offset + 1
        self._read_at = asked
