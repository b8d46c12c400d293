"""Which records of a partition are held, and up to which all of them are acknowledged."""

from __future__ import annotations

from collections import deque
from functools import partial

from nexus.ports import Record
from streams.processor import Delivery

__all__ = ["Acks"]


class Acks:
    """The acknowledgements of one partition, for as long as it is assigned here; later ones do nothing."""

    def __init__(self, start: int) -> None:
        self.next = start
        """The lowest offset that the next delivery may have."""
        self.committed = start
        """What the driver has told the log, for it to keep here."""
        self._held: deque[int] = deque()
        self._acknowledged: set[int] = set()

    def deliver(self, record: Record) -> Delivery:
        """Records come in the order of the log; offsets may be missing between them."""
        offset = record.position.offset
        self.next = offset + 1
        self._held.append(offset)
        return Delivery(record, partial(self._acknowledge, offset))

    def _acknowledge(self, offset: int) -> None:
        # A batch that was delivered twice may be acknowledged twice: the second word finds nothing held.
        if self._held and offset >= self._held[0]:
            self._acknowledged.add(offset)

    def settled(self) -> int:
        """The offset below which everything is acknowledged: never past a record that is still held."""
        while self._held and self._held[0] in self._acknowledged:
            self._acknowledged.remove(self._held.popleft())
        return self._held[0] if self._held else self.next
