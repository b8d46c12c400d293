"""Addresses of the real servers that tests use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nexus.config import Cassandra
from tests.cassandra import drop_keyspace, fresh_keyspace

__all__ = [
    "S3Server",
    "cassandra_schema",
    "cassandra_server",
    "kafka_server",
    "kubernetes_server",
    "s3_server",
]


class S3Server(msgspec.Struct, frozen=True):
    endpoint: str
    access_key: str
    secret_key: str


def _address(variable: str) -> str:
    address = os.environ.get(variable, "")
    if not address:
        pytest.skip(f"{variable} is not set")
    return address


@pytest.fixture(scope="session")
def kafka_server() -> str:
    """`host:port` of a broker."""
    return _address("NEXUS_TEST_KAFKA")


@pytest.fixture(scope="session")
def cassandra_server() -> str:
    """`host:port` of a node."""
    return _address("NEXUS_TEST_CASSANDRA")


@pytest.fixture(scope="session")
def cassandra_schema(cassandra_server: str) -> Iterator[Cassandra]:
    """A keyspace with the schema, for this session of tests alone."""
    config = Cassandra(hosts=cassandra_server, keyspace=f"nexus_test_{os.getpid()}", replicas=1)
    asyncio.run(fresh_keyspace(config))
    yield config
    asyncio.run(drop_keyspace(config))


@pytest.fixture(scope="session")
def s3_server() -> S3Server:
    return S3Server(
        _address("NEXUS_TEST_S3"), _address("NEXUS_TEST_S3_ACCESS_KEY"), _address("NEXUS_TEST_S3_SECRET_KEY")
    )


@pytest.fixture(scope="session")
def kubernetes_server() -> Path:
    """The kubeconfig of an administrator."""
    return Path(_address("NEXUS_TEST_KUBECONFIG"))
