"""The driver for Kafka that runs as a Faust app, for processors that are no faster than a cluster."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # no py.typed
from faust.app.base import BootStrategy
from faust.exceptions import FaustError

from nexus.backoff import Backoff
from nexus.kafka.names import Names
from nexus.ports import Partition
from streams.drivers.faust_metrics import counted
from streams.drivers.inbox import Gap, Inbox
from streams.drivers.liveness import Liveness
from streams.drivers.membership import ALLOWED_SKEW, TIMEOUT, Membership
from streams.drivers.renaming import Renaming
from streams.processor import Clock, Processor

__all__ = ["FaustDriver"]

_log = structlog.get_logger(__name__)

_NEVER = timedelta(days=24)
_USUAL = Names()


class _Crashed(Exception):
    """The app has ended by itself."""


class _Boot(BootStrategy):
    enable_kafka_producer = False


class _App(faust.App):
    BootStrategy = _Boot


class FaustDriver:
    """Feeds a processor as a member of the consumer group `consumers`: KafkaDriver's arguments, and what it promises.

    Faust fetches and takes part in the group, but is told that nothing needs to be acknowledged: its own commit steps
    over a single record that is held, and counts what it skips in a rebalance as done. What the processor acknowledged
    is committed from here.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        topics: Sequence[str],
        processor: Processor,
        *,
        consumers: str,
        clock: Clock,
        batch: int = 500,
        skew: timedelta = ALLOWED_SKEW,
        names: Names = _USUAL,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._processor = processor
        self._consumers = consumers
        self._clock = clock
        self._batch = batch
        self._skew = skew
        self._names = names
        self._progress = Liveness(consumers, clock)
        self._gaps: dict[Partition, int] = {}

    def problem(self) -> str | None:
        return self._progress.problem()

    async def run(self) -> None:
        """Until cancelled; then what was acknowledged is committed."""
        backoff = Backoff()
        while True:
            try:
                with tempfile.TemporaryDirectory(prefix="nexus-faust-") as folder:
                    app = self._app(folder)
                    with counted(self._consumers, app):
                        await self._consume(app)
            except (KafkaError, FaustError, _Crashed, Gap) as error:
                _log.warning("app_starts_anew", consumers=self._consumers, problem=repr(error))
                await backoff.pause()

    async def _consume(self, app: faust.App) -> None:
        """For as long as one app works."""
        inbox = Inbox(app, self._topics, self._batch, self._gaps, self._names)
        membership = Membership(
            Renaming(inbox, self._names),
            self._topics,
            self._processor,
            self._consumers,
            self._progress,
            self._skew,
        )

        async def revoked(*_: object, **__: object) -> None:
            inbox.revoked()
            await membership.revoked()

        async def given(*_: object, **__: object) -> None:
            if await inbox.given():
                membership.assigned()

        app.on_partitions_revoked.connect(revoked)
        app.on_rebalance_complete.connect(given)
        background: list[asyncio.Task[None]] = []
        try:
            await app.start()
            background += [
                asyncio.create_task(membership.commit_regularly()),
                asyncio.create_task(membership.look_ahead(self._clock)),
            ]
            while not app.should_stop:
                records = await inbox.some()
                if inbox.open:
                    await membership.hand_over(records)
            raise _Crashed(repr(app.crash_reason))
        finally:
            for task in background:
                task.cancel()
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(TIMEOUT):
                    await membership.commit()
            await app.stop()
            # They are kept by the id of the app, which a later one may get.
            app.on_partitions_revoked.disconnect(revoked)
            app.on_rebalance_complete.disconnect(given)

    def _app(self, folder: str) -> faust.App:
        servers = self._connection["bootstrap_servers"]
        return _App(
            self._consumers,
            broker=[f"kafka://{at}" for at in (servers.split(",") if isinstance(servers, str) else servers)],
            broker_credentials=_credentials(self._connection),
            broker_session_timeout=10.0,
            broker_rebalance_timeout=30.0,
            broker_heartbeat_interval=1.0,
            broker_max_poll_interval=_NEVER,
            stream_buffer_maxsize=self._batch,
            stream_wait_empty=False,
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            store="memory://",
            datadir=folder,
            loop=asyncio.get_running_loop(),
        )


def _credentials(connection: Mapping[str, Any]) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """What aiokafka's arguments say, in Faust's words."""
    context = connection.get("ssl_context")
    if "sasl_mechanism" in connection:
        return faust.SASLCredentials(
            username=connection["sasl_plain_username"],
            password=connection["sasl_plain_password"],
            mechanism=connection["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None
