"""The driver for Kafka that runs as a Faust app, for processors that are no faster than a cluster."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import faust
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # no py.typed
from faust.app.base import BootStrategy
from faust.exceptions import FaustError

from nexus.ports import Partition
from streams.drivers.broker import BrokerDriver
from streams.drivers.faust_metrics import counted
from streams.drivers.inbox import Gap, Inbox

__all__ = ["FaustDriver"]

_NEVER = timedelta(days=24)


class _Crashed(Exception):
    """The app has ended by itself."""


class _Boot(BootStrategy):
    enable_kafka_producer = False


class _App(faust.App):
    BootStrategy = _Boot


class FaustDriver(BrokerDriver[str]):
    """Reads by a Faust app, which fetches and takes part in the group.

    Faust is told that nothing needs to be acknowledged: its own commit steps over a single record that is held, and
    counts what it skips in a rebalance as done. What the processor acknowledged is committed from here.
    """

    usual_batch = 500
    failures: ClassVar[tuple[type[Exception], ...]] = (KafkaError, FaustError, _Crashed, Gap)

    @functools.cached_property
    def _gaps(self) -> dict[Partition, int]:
        """Where the log has none, as far as one app told the next."""
        return {}

    async def _consume(self) -> None:
        with tempfile.TemporaryDirectory(prefix="nexus-faust-") as folder:
            app = self._app(folder)
            with counted(self._consumers, app):
                await self._consume_by(app)

    async def _consume_by(self, app: faust.App) -> None:
        inbox = Inbox(app, self._topics, self._batch, self._gaps, self._names)
        membership = self._membership(inbox)

        async def revoked(*_: object, **__: object) -> None:
            inbox.revoked()
            await membership.revoked()

        async def given(*_: object, **__: object) -> None:
            if await inbox.given():
                membership.assigned()

        app.on_partitions_revoked.connect(revoked)
        app.on_rebalance_complete.connect(given)
        try:
            await app.start()
            async with self._working(membership):
                while not app.should_stop:
                    records = await inbox.some(self._look_every)
                    if inbox.open:
                        await membership.hand_over(records)
            raise _Crashed(repr(app.crash_reason))
        finally:
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
