"""What both drivers for Kafka share: their arguments, a fresh consumer after a failure, and the work beside one."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar

import structlog
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # no py.typed

from nexus.backoff import Backoff
from nexus.kafka.names import Names
from streams.drivers.liveness import Liveness
from streams.drivers.membership import ALLOWED_SKEW, TIMEOUT, Consumer, Membership
from streams.drivers.renaming import Renaming
from streams.processor import Clock, Processor

__all__ = ["BrokerDriver"]

_log = structlog.get_logger(__name__)

_USUAL = Names()
_PROMPT, _USUALLY = 0.1, 1.0
"""Seconds between two looks at how far the log reaches."""
_Group = TypeVar("_Group", str, str | None)


class BrokerDriver(ABC, Generic[_Group]):
    """Feeds a processor with the records of topics, as a member of the consumer group `consumers`.

    `connection` holds the arguments of aiokafka's clients that say where the brokers are and who asks. A batch holds
    at most `batch` records, or what is usual for the driver. A member is never expelled for being long at a batch,
    because a scheduler is whenever its window is full: that the process lives is told by heartbeats, that it gets on by
    `problem`. `prompt` is for processors whose `caught_up` somebody waits for: looking often is what an idle consumer
    costs. `names` are those that the topics have on the brokers.
    """

    usual_batch: ClassVar[int]
    failures: ClassVar[tuple[type[Exception], ...]] = (KafkaError,)
    """After these a consumer may never work again: the next one starts from what is committed."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        topics: Sequence[str],
        processor: Processor,
        *,
        consumers: _Group,
        clock: Clock,
        batch: int | None = None,
        prompt: bool = False,
        skew: timedelta = ALLOWED_SKEW,
        names: Names = _USUAL,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._processor = processor
        self._consumers: _Group = consumers
        self._clock = clock
        self._batch = batch or self.usual_batch
        self._look_every = _PROMPT if prompt else _USUALLY
        self._skew = skew
        self._names = names
        self._progress = Liveness(consumers, clock)

    def problem(self) -> str | None:
        return self._progress.problem()

    async def run(self) -> None:
        """Until cancelled; then what was acknowledged is committed."""
        backoff = Backoff()
        while True:
            try:
                await self._consume()
            except self.failures as error:
                _log.warning("consumer_starts_anew", consumers=self._consumers, problem=repr(error))
                await backoff.pause()

    @abstractmethod
    async def _consume(self) -> None:
        """Work for as long as one consumer does. Raises one of `failures` when it works no more."""

    def _membership(self, consumer: Consumer) -> Membership:
        """The part in the group of a consumer that speaks of topics by the names on the brokers."""
        return Membership(
            Renaming(consumer, self._names),
            self._topics,
            self._processor,
            self._consumers,
            self._progress,
            self._skew,
            self._look_every,
        )

    @asynccontextmanager
    async def _working(self, membership: Membership) -> AsyncIterator[None]:
        """Commit and look ahead meanwhile; at last commit what was acknowledged."""
        background = [
            asyncio.create_task(membership.commit_regularly()),
            asyncio.create_task(membership.look_ahead(self._clock)),
        ]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(TIMEOUT):
                    await membership.commit()
