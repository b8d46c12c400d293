"""Brokers that want to know who asks."""

from __future__ import annotations

import msgspec
import pytest

from infra.services import SecureKafka
from nexus.config import Kafka, Secret
from nexus.domain.errors import ConfigError, Unavailable
from nexus.domain.topics import NewRecord
from nexus.kafka.client import connection
from nexus.kafka.event_log import KafkaEventLog
from tests.contract.event_logs import kafka_topics


def with_certificate(server: SecureKafka) -> Kafka:
    return Kafka(
        servers=server.address,
        security="SSL",
        ca_file=server.ca_file,
        cert_file=server.cert_file,
        key_file=server.key_file,
    )


def with_password(server: SecureKafka, mechanism: str) -> Kafka:
    return Kafka(
        servers=server.sasl_address,
        security="SASL_SSL",
        ca_file=server.ca_file,
        mechanism=mechanism,
        username=server.username,
        password=Secret(server.password),
    )


@pytest.fixture(params=["certificate", "PLAIN", "SCRAM-SHA-512"])
def allowed(request: pytest.FixtureRequest, secure_kafka_server: SecureKafka) -> Kafka:
    if request.param == "certificate":
        return with_certificate(secure_kafka_server)
    return with_password(secure_kafka_server, request.param)


async def test_who_is_known_reads_and_writes(allowed):
    async with kafka_topics(allowed, [1]) as [topic]:
        log = KafkaEventLog(allowed, {topic: 1})
        await log.start()
        [position] = await log.append([NewRecord(topic, "k", b"{}", {})])
        [record] = await log.read(*position, limit=1)
        assert record.value == b"{}"
        await log.close()


@pytest.mark.parametrize("wrong", [{"password": Secret("wrong")}, {"ca_file": None}])
async def test_who_is_not_known_is_not_let_in(secure_kafka_server, wrong):
    kafka = msgspec.structs.replace(with_password(secure_kafka_server, "PLAIN"), **wrong)
    log = KafkaEventLog(kafka, {})
    with pytest.raises(Unavailable, match=secure_kafka_server.sasl_address):
        await log.start()
    await log.close()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"security": "SSL", "ca_file": "no-such.crt"}, "kafka.ca_file no-such.crt"),
        ({"security": "SSL", "cert_file": __file__}, "kafka.cert_file"),
        ({"security": "SSL", "key_file": __file__}, "kafka.key_file"),
        ({"security": "SASL_SSL", "username": "nexus"}, "kafka.password"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, key):
    with pytest.raises(ConfigError, match=key):
        connection(Kafka(servers="localhost:9092", **settings))
