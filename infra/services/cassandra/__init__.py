"""Cassandra, one node."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from infra.services.cache import installed, place
from infra.services.probes import cql_answers
from infra.services.process import Component
from infra.services.server import Server
from infra.services.tools import copy_jars, needed

__all__ = ["VERSION", "Cassandra"]

VERSION = "5.0.9"

_HERE = Path(__file__).parent
_ADVICE = "Cassandra: install Java 17 and Maven, or give NEXUS_TEST_CASSANDRA=host:port"


class Cassandra(Server):
    """No acknowledged write is lost when the process is killed: `commitlog_sync: batch`."""

    name = "cassandra"
    usual_ports: ClassVar[Mapping[str, int]] = {"cql": 19042, "storage": 17000, "jmx": 17199}

    @property
    def variables(self) -> Mapping[str, str]:
        return {"NEXUS_TEST_CASSANDRA": f"127.0.0.1:{self.ports['cql']}"}

    def install(self) -> None:
        needed("java", _ADVICE)
        installed(_jars(), lambda folder: copy_jars(needed("mvn", _ADVICE), _HERE / "pom.xml", folder))

    def prepare(self) -> None:
        self.render(_HERE / "cassandra.yaml")
        shutil.copy(_HERE / "logback.xml", self.folder)

    @property
    def components(self) -> Sequence[Component]:
        settings = {
            "cassandra.config": f"file://{self.folder}/cassandra.yaml",
            "cassandra.logdir": self.folder / "logs",
            "cassandra.storagedir": self.folder / "data",
            "cassandra.jmx.local.port": self.ports["jmx"],
            "cassandra-foreground": "yes",
            "cassandra.initial_token": 0,
            # One node has nobody to wait for.
            "cassandra.skip_wait_for_gossip_to_settle": 0,
            "cassandra.ring_delay_ms": 0,
            "cassandra.superuser_setup_delay_ms": 0,
            "logback.configurationFile": "logback.xml",
            "java.awt.headless": "true",
        }
        command = [
            "java",
            "-server",
            "-Xms1G",
            "-Xmx1G",
            "-XX:MaxDirectMemorySize=512m",
            "-XX:+ExitOnOutOfMemoryError",
            f"-XX:ErrorFile={self.folder}/hs_err.log",
            f"-XX:HeapDumpPath={self.folder}",
            f"@{_HERE}/jvm17.options",
            *(f"-javaagent:{agent}" for agent in _jars().glob("jamm-*.jar")),
            *(f"-D{key}={value}" for key, value in settings.items()),
            "-cp",
            f"{self.folder}:{_jars()}/*",
            "org.apache.cassandra.service.CassandraDaemon",
        ]
        cql = self.ports["cql"]
        return [Component("cassandra", self.folder, command, lambda: cql_answers(cql))]


def _jars() -> Path:
    return place("cassandra", (_HERE / "pom.xml").read_bytes())
