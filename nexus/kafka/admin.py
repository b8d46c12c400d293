"""What there is on a Kafka cluster, and making topics on it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from aiokafka.admin import (  # type: ignore[import-untyped]  # no py.typed
    AIOKafkaAdminClient,
    NewPartitions,
    NewTopic,
)
from aiokafka.admin.config_resource import (  # type: ignore[import-untyped]  # no py.typed
    ConfigResource,
    ConfigResourceType,
)
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code  # type: ignore[import-untyped]  # no py.typed

from nexus.domain.errors import ConfigError, OutcomeUnknown, Unavailable
from nexus.kafka.client import Connection

__all__ = ["Admin", "Topic"]

_TIMEOUT = 30.0
_PAUSE = 0.1


class Topic(msgspec.Struct, frozen=True):
    """A topic as it is, or as it is to be. `replicas` are those of the partition that has the fewest."""

    name: str
    partitions: int
    replicas: int
    settings: Mapping[str, str] = {}


class Admin:
    """Use it with `async with`. Raises Unavailable where no broker answers."""

    def __init__(self, connection: Connection) -> None:
        self._servers = ", ".join(connection["bootstrap_servers"])
        self._connection = connection

    async def __aenter__(self) -> Self:
        self._client: Any = AIOKafkaAdminClient(**self._connection, request_timeout_ms=10_000)
        try:
            await self._client.start()
        except KafkaError as error:
            await self._client.close()
            raise Unavailable(
                f"Kafka at {self._servers} cannot be reached ({error}): see whether its brokers run, and check the section kafka"
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()
        if isinstance(error, KafkaError | TimeoutError):
            raise OutcomeUnknown(
                f"Kafka at {self._servers} failed ({error}), and it is unknown what was done: run the command again"
            ) from None

    async def brokers(self) -> int:
        return len((await self._client.describe_cluster())["brokers"])

    async def topics(self, names: Sequence[str]) -> dict[str, Topic]:
        """Those of the names that are there."""
        found = {
            topic["topic"]: topic
            for topic in await self._client.describe_topics()
            if topic["topic"] in names and not topic["error_code"]
        }
        settings = await self._settings(list(found))
        return {
            name: Topic(
                name,
                len(topic["partitions"]),
                min(len(partition["replicas"]) for partition in topic["partitions"]),
                settings[name],
            )
            for name, topic in found.items()
        }

    async def create(self, topics: Sequence[Topic]) -> None:
        """Returns when they can be used, whoever made them. Raises ConfigError for what the brokers cannot do."""
        wanted = [
            NewTopic(topic.name, topic.partitions, topic.replicas, topic_configs=dict(topic.settings))
            for topic in topics
        ]
        response = await self._client.create_topics(wanted)
        for name, code, *message in response.topic_errors:
            if code not in {0, TopicAlreadyExistsError.errno}:
                raise ConfigError(
                    f"{name} cannot be made: {message[0] if message else ''} ({for_code(code).__name__})"
                )
        await self._until({topic.name: topic.partitions for topic in topics})

    async def grow(self, name: str, partitions: int) -> None:
        await self._client.create_partitions({name: NewPartitions(partitions)})
        await self._until({name: partitions})

    async def delete(self, names: Sequence[str]) -> None:
        await self._client.delete_topics(list(names))

    async def _until(self, partitions: Mapping[str, int]) -> None:
        """Each partition has a leader: the controller decides before the brokers know."""
        async with asyncio.timeout(_TIMEOUT):
            while True:
                led = {
                    topic["topic"]: sum(partition["leader"] >= 0 for partition in topic["partitions"])
                    for topic in await self._client.describe_topics()
                }
                if all(led.get(name) == count for name, count in partitions.items()):
                    return
                await asyncio.sleep(_PAUSE)

    async def _settings(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        return {
            name: {key: value for key, value, *_ in entries}
            for response in await self._client.describe_configs(resources)
            for _, _, _, name, entries in response.resources
        }
