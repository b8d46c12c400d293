"""The journal: how every role appends events to the log, and reads them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from nexus.domain.errors import InvalidInput, Unavailable
from nexus.domain.events import DeadLettered, Event
from nexus.domain.topics import read_event, to_record
from nexus.ports import EventLog, Partition, Record

__all__ = ["Journal"]


class Journal:
    """The log as one role sees it. `source` is the CloudEvents source, such as `nexus/ledger/host-1`.

    `appended` counts the appends that were acknowledged; `refused` is whether the last one was not.
    """

    def __init__(self, log: EventLog, source: str) -> None:
        self._log = log
        self.source = source
        self.appended = 0
        self.refused = False

    async def append(self, events: Iterable[Event]) -> None:
        """Append events, durably when this returns, in this order for each run. Raises as `EventLog.append`."""
        records = [to_record(event, self.source) for event in events]
        if not records:
            return
        try:
            await self._log.append(records)
        except Unavailable:
            self.refused = True
            raise
        self.appended += 1
        self.refused = False

    async def read(self, records: Iterable[Record], at: datetime) -> list[tuple[Record, Event]]:
        """Decode records; a damaged one becomes a dead letter instead.

        Raises UnknownEvent for what a newer release wrote: that partition must wait for an upgrade.
        """
        events: list[tuple[Record, Event]] = []
        for record in records:
            try:
                events.append((record, read_event(record.headers, record.value)))
            except InvalidInput as error:
                await self.dead_letter(record, str(error), at)
        return events

    async def end(self, partition: Partition) -> int:
        """Tell the offset that the next record will get."""
        return await self._log.end(*partition)

    async def dead_letter(self, record: Record, reason: str, at: datetime) -> None:
        """Keep a record that failed by its own content, and why, where a person can look at it."""
        topic, partition, offset = record.position
        letter = DeadLettered(
            request_id=record.key,
            algorithm="",
            at=at,
            topic=topic,
            partition=partition,
            offset=offset,
            reason=reason,
            record=record.value,
        )
        await self.append([letter])
