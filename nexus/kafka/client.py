"""How to connect to Kafka: the arguments that every client of aiokafka takes."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TypedDict

from nexus.config import Kafka
from nexus.domain.errors import ConfigError

__all__ = ["Connection", "connection", "ssl_context"]


class Connection(TypedDict, total=False):
    """Keyword arguments of aiokafka's producer, consumer, admin and plain client."""

    bootstrap_servers: list[str]
    security_protocol: str
    ssl_context: ssl.SSLContext
    sasl_mechanism: str
    sasl_plain_username: str
    sasl_plain_password: str


def connection(kafka: Kafka) -> Connection:
    """Raises ConfigError for settings that no broker could be reached with, or files that cannot be read."""
    servers = [server.strip() for server in kafka.servers.split(",") if server.strip()]
    if not servers:
        raise ConfigError("kafka.servers is empty: name at least one broker as host:port")
    if "@" in kafka.servers:  # the library would log it, and find no such host
        raise ConfigError(
            "kafka.servers holds a user or a password: put them into kafka.username and kafka.password, and name brokers "
            "as host:port"
        )
    arguments = Connection(bootstrap_servers=servers, security_protocol=kafka.security)
    if context := ssl_context(kafka):
        arguments["ssl_context"] = context
    if kafka.security.startswith("SASL"):
        if not kafka.username or not kafka.password:
            raise ConfigError(f"kafka.security {kafka.security} needs kafka.username and kafka.password")
        arguments["sasl_mechanism"] = kafka.mechanism
        arguments["sasl_plain_username"] = kafka.username
        arguments["sasl_plain_password"] = str(kafka.password)
    return arguments


def ssl_context(kafka: Kafka) -> ssl.SSLContext | None:
    """None where the connection is not encrypted. Certificates and host names are always verified."""
    if not kafka.security.endswith("SSL"):
        return None
    context = _trusting(kafka.ca_file)
    if kafka.cert_file is not None:
        try:
            context.load_cert_chain(kafka.cert_file, kafka.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"kafka.cert_file {kafka.cert_file} and kafka.key_file {kafka.key_file} cannot be used: {error}"
            ) from None
    elif kafka.key_file is not None:
        raise ConfigError("kafka.key_file is set without kafka.cert_file: set both or none")
    return context


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"kafka.ca_file {ca_file} cannot be used: {error}") from None
