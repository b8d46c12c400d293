"""The event log in memory: partitions with the brokers' own timestamps, and the port to it from one process."""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from nexus.domain.errors import ConfigError, NexusError, OutcomeUnknown, Unavailable
from nexus.domain.topics import NewRecord
from nexus.ports import Partition, Position, Record
from tests.simulation.network import Network

__all__ = ["Broker", "SimulatedLog"]

PORT = "log"


class Broker:
    """Everything that was appended. `clock` is in unix seconds, by partition: each has a leader of its own."""

    def __init__(self, clock: Callable[[Partition], float]) -> None:
        self.partitions: dict[Partition, list[Record]] = {}
        self.counts: dict[str, int] = {}
        self.of_key: dict[str, list[Record]] = defaultdict(list)
        self.arrivals: dict[object, Callable[[], None]] = {}
        """Called after every append."""
        self._clock = clock

    def add(self, topics: Mapping[str, int]) -> None:
        for topic, count in topics.items():
            if (there := self.counts.setdefault(topic, count)) != count:
                raise ConfigError(
                    f"the log has {there} partitions of {topic}, {count} are configured: keep {there}"
                )
            for number in range(count):
                self.partitions.setdefault(Partition(topic, number), [])

    def ends(self) -> dict[Partition, int]:
        return {partition: len(records) for partition, records in self.partitions.items()}

    def partition_of(self, record: NewRecord) -> Partition:
        if record.topic not in self.counts:
            raise NexusError(f"there is no topic {record.topic}: topics are made from the configuration")
        return Partition(record.topic, zlib.crc32(record.key.encode()) % self.counts[record.topic])

    def append(self, at: Partition, records: Sequence[NewRecord]) -> list[Position]:
        lying = self.partitions[at]
        # In whole milliseconds, as Kafka has it.
        now = int(self._clock(at) * 1000) / 1000
        timestamp = max(now, lying[-1].timestamp) if lying else now
        positions = []
        for new in records:
            position = Position(at.topic, at.number, len(lying))
            record = Record(position, new.key, new.value, new.headers, timestamp)
            lying.append(record)
            self.of_key[new.key].append(record)
            positions.append(position)
        for arrived in [*self.arrivals.values()]:
            arrived()
        return positions


class SimulatedLog:
    """As one process reaches it. What one process appends to a partition arrives in the order in which it was sent."""

    def __init__(self, broker: Broker, network: Network) -> None:
        self._broker = broker
        self._network = network

    async def append(self, records: Sequence[NewRecord]) -> list[Position]:
        parts: dict[Partition, list[int]] = {}
        for nth, record in enumerate(records):
            parts.setdefault(self._broker.partition_of(record), []).append(nth)
        sent = [self._send(at, [records[nth] for nth in some]) for at, some in parts.items()]
        if len(sent) == 1:
            return await sent[0]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        positions: dict[int, Position] = {}
        problems = []
        for some, answer in zip(parts.values(), answers, strict=True):
            if isinstance(answer, BaseException):
                problems.append(answer)
            else:
                positions |= zip(some, answer, strict=True)
        for problem in problems:
            if positions and type(problem) is Unavailable:
                raise OutcomeUnknown("only a part was appended")
            raise problem
        return [positions[nth] for nth in range(len(records))]

    async def _send(self, at: Partition, records: Sequence[NewRecord]) -> list[Position]:
        what = f"append to {at.topic} [{at.number}]: " + ", ".join(map(_shown, records))
        return await self._network.change(
            PORT, what, lambda: self._broker.append(at, records), lane=(self, at)
        )

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        lying = self._broker.partitions[Partition(topic, partition)]
        return await self._network.read(PORT, lambda: lying[offset : offset + limit])

    async def topics(self) -> Mapping[str, int]:
        return dict(self._broker.counts)

    async def end(self, topic: str, partition: int) -> int:
        lying = self._broker.partitions[Partition(topic, partition)]
        return await self._network.read(PORT, lambda: len(lying))

    async def check(self) -> None:
        await self._network.read(PORT, lambda: None)


def _shown(record: NewRecord) -> str:
    kind = record.headers.get("ce_type", "").removeprefix("nexus.")
    return f"{kind} of {record.key[-4:]}"
