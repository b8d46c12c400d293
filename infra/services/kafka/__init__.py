"""Kafka, one broker that is its own controller: plain, or with TLS and passwords."""

from __future__ import annotations

import base64
import ssl
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from infra.services.cache import installed, place
from infra.services.pki import Authority
from infra.services.probes import kafka_answers
from infra.services.process import Component
from infra.services.server import Server
from infra.services.tools import copy_jars, needed, run

__all__ = ["VERSION", "Kafka", "SecureKafka"]

VERSION = "4.3.1"

_HERE = Path(__file__).parent


class Kafka(Server):
    """Anyone may do anything."""

    name = "kafka"
    advice: ClassVar[str] = "Kafka: install Java 17 and Maven, or give NEXUS_TEST_KAFKA=host:port"
    usual_ports: ClassVar[Mapping[str, int]] = {"broker": 19092, "controller": 19093}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['broker']}"

    @property
    def variables(self) -> Mapping[str, str]:
        return {"NEXUS_TEST_KAFKA": self.address}

    def install(self) -> None:
        needed("java", self.advice)
        installed(_jars(), lambda folder: copy_jars(needed("mvn", self.advice), _HERE / "pom.xml", folder))

    def prepare(self) -> None:
        self._format(self.render(_HERE / "server.properties", _HERE / "plain.properties"))

    @property
    def components(self) -> Sequence[Component]:
        command = [
            *_java("-server", "-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
            "kafka.Kafka",
            self.folder / "server.properties",
        ]
        return [Component(self.name, self.folder, command, self._serves)]

    def _format(self, settings: Path, *options: str) -> None:
        """Make the data folder, once."""
        if not (self.folder / "data" / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # With "=", for an id may begin with a dash.
            given = [f"--cluster-id={cluster}", f"--config={settings}", *options]
            tool = [*_java(), "kafka.tools.StorageTool", "format", "--standalone"]
            run([*tool, *given])

    def _serves(self) -> bool:
        return kafka_answers(self.ports["broker"])


class SecureKafka(Kafka):
    """TLS with client certificates at `address`, TLS with a password (PLAIN, SCRAM-SHA-512) at `sasl_address`."""

    name = "kafka-secure"
    advice = "Kafka with TLS: install Java 17, Maven and openssl"
    usual_ports: ClassVar[Mapping[str, int]] = {"broker": 19192, "controller": 19193, "sasl": 19194}

    username = "nexus"
    password = "a-password-for-tests"  # noqa: S105

    @property
    def sasl_address(self) -> str:
        return f"127.0.0.1:{self.ports['sasl']}"

    @property
    def ca_file(self) -> Path:
        return self.folder / "certificates" / "ca.crt"

    @property
    def cert_file(self) -> Path:
        return self.folder / "certificates" / "client.crt"

    @property
    def key_file(self) -> Path:
        return self.folder / "certificates" / "client.key"

    @property
    def variables(self) -> Mapping[str, str]:
        return {}

    def prepare(self) -> None:
        authority = Authority(self.folder / "certificates")
        authority.issue("client", "/CN=client", "clientAuth")
        certificate, key = authority.issue(
            "broker", "/CN=broker", "serverAuth,clientAuth", "DNS:localhost,IP:127.0.0.1"
        )
        (self.folder / "certificates" / "broker.pem").write_text(key.read_text() + certificate.read_text())
        settings = self.render(
            _HERE / "server.properties",
            _HERE / "secure.properties",
            username=self.username,
            password=self.password,
        )
        self._format(settings, f"--add-scram=SCRAM-SHA-512=[name={self.username},password={self.password}]")

    def _serves(self) -> bool:
        return kafka_answers(self.ports["sasl"], ssl.create_default_context(cafile=self.ca_file))


def _java(*options: str) -> list[str | Path]:
    return ["java", *options, "-Djava.awt.headless=true", "-cp", f"{_jars()}/*"]


def _jars() -> Path:
    return place("kafka", (_HERE / "pom.xml").read_bytes())
