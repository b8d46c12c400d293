"""A broker that tests may kill."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from infra.services import Kafka as Broker
from infra.services import MissingTool
from infra.services.server import free_ports
from nexus.config import Kafka
from nexus.kafka.event_log import KafkaEventLog
from tests.contract.event_logs import kafka_topics


class OwnBroker(Broker):
    """One that can be made to stand still."""

    def freeze(self) -> None:
        os.kill(self._pid(), signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid(), signal.SIGCONT)

    def _pid(self) -> int:
        # What has ended, and is not waited for yet, has no command line.
        [pid] = [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if str(self.folder) in " ".join(process.info["cmdline"] or ())
        ]
        return pid


@pytest.fixture(scope="session")
def lone_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    broker = OwnBroker(tmp_path_factory.mktemp("kafka"), free_ports(OwnBroker.usual_ports))
    try:
        broker.install()
    except MissingTool as missing:
        pytest.skip(str(missing))
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture
def broker(lone_broker: OwnBroker) -> OwnBroker:
    """It runs, whatever the test before did to it."""
    lone_broker.start()
    return lone_broker


@pytest.fixture
def settings(broker: OwnBroker) -> Kafka:
    return Kafka(servers=broker.address)


@pytest.fixture
async def topic(settings: Kafka) -> AsyncIterator[str]:
    """Of four partitions."""
    async with kafka_topics(settings, [4]) as [name]:
        yield name


@pytest.fixture
async def log(settings: Kafka, topic: str) -> AsyncIterator[KafkaEventLog]:
    log = KafkaEventLog(settings, {topic: 4})
    await log.start()
    yield log
    await log.close()
