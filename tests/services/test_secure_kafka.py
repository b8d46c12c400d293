"""The broker with TLS lets in who has a password or a certificate, and nobody else."""

from __future__ import annotations

import ssl

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.services import SecureKafka


def trusting(server: SecureKafka) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.ca_file)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_password_opens_it(secure_kafka_server: SecureKafka, mechanism: str) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=secure_kafka_server.sasl_address,
        security_protocol="SASL_SSL",
        ssl_context=trusting(secure_kafka_server),
        sasl_mechanism=mechanism,
        sasl_plain_username=secure_kafka_server.username,
        sasl_plain_password=secure_kafka_server.password,
    ):
        pass


async def test_a_certificate_opens_it(secure_kafka_server: SecureKafka) -> None:
    context = trusting(secure_kafka_server)
    context.load_cert_chain(secure_kafka_server.cert_file, secure_kafka_server.key_file)
    async with AIOKafkaProducer(
        bootstrap_servers=secure_kafka_server.address, security_protocol="SSL", ssl_context=context
    ):
        pass


async def test_another_password_does_not(secure_kafka_server: SecureKafka) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=secure_kafka_server.sasl_address,
        security_protocol="SASL_SSL",
        ssl_context=trusting(secure_kafka_server),
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=secure_kafka_server.username,
        sasl_plain_password="wrong",
    )
    with pytest.raises(KafkaError):
        await producer.start()
    await producer.stop()
