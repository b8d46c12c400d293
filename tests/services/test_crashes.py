"""The servers of this machine come back with what they had acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.services import Kafka, Kubernetes, MissingTool, Server
from infra.services.server import free_ports


@pytest.fixture
def beside(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of its own for one test."""
    kind: type[Server] = request.param
    server = kind(tmp_path, free_ports(kind.usual_ports))
    try:
        server.install()
    except MissingTool as missing:
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("beside", [Kafka], indirect=True)
async def test_kafka_keeps_what_it_acknowledged(beside: Kafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=beside.address)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=beside.address, acks="all") as producer:
        await producer.send_and_wait("kept", b"before the crash")
    beside.kill()
    assert not beside.running()
    beside.start()
    assert beside.healthy()
    consumer = AIOKafkaConsumer(bootstrap_servers=beside.address)
    await consumer.start()
    consumer.assign([TopicPartition("kept", 0)])
    await consumer.seek_to_beginning()
    assert (await consumer.getone()).value == b"before the crash"
    await consumer.stop()


@pytest.mark.parametrize("beside", [Kubernetes], indirect=True)
def test_one_part_of_a_cluster_can_crash_and_come_back(beside: Kubernetes) -> None:
    for name in ("apiserver", "controller-manager", "etcd"):
        beside.kill(name)
        assert not beside.healthy()
        assert beside.running()
        beside.start(name)
    beside.wait_ready()
    assert beside.healthy()
    beside.stop()
    assert not beside.running()
