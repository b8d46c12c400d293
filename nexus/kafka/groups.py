"""The offsets of consumer groups, for who is no member."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # no py.typed
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # no py.typed

from nexus.domain.errors import OutcomeUnknown
from nexus.kafka.client import Connection
from nexus.ports import Partition

__all__ = ["commit"]


async def commit(connection: Connection, group: str, offsets: Mapping[Partition, int]) -> None:
    """Where a group begins that has no members now. Raises OutcomeUnknown."""
    consumer = AIOKafkaConsumer(group_id=group, enable_auto_commit=False, **connection)
    consumer.assign([TopicPartition(*partition) for partition in offsets])
    try:
        await consumer.start()
        await consumer.commit({TopicPartition(*partition): offset for partition, offset in offsets.items()})
    except KafkaError as error:
        raise OutcomeUnknown(
            f"the offsets of the group {group} may not be committed ({error}): run the command again"
        ) from None
    finally:
        await consumer.stop()
