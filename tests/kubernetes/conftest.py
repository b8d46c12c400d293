"""A namespace for each test, and a connection that tests can disturb."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from yarl import URL

from nexus.kubernetes.connection import Connection
from nexus.kubernetes.credentials import from_kubeconfig
from tests.support.kube import Namespace, namespace
from tests.support.relay import Relay, relay


class Disturbed(NamedTuple):
    """A connection, and what lies between it and the API server."""

    connection: Connection
    relay: Relay
    kubeconfig: Path


@pytest.fixture
async def there(kubernetes_server: Path) -> AsyncIterator[Namespace]:
    async with namespace(kubernetes_server) as there:
        yield there


@pytest.fixture
async def disturbed(kubernetes_server: Path, tmp_path: Path) -> AsyncIterator[Disturbed]:
    config = yaml.safe_load(kubernetes_server.read_text())
    cluster = config["clusters"][0]["cluster"]
    server = URL(cluster["server"])
    assert server.port
    async with relay(server.port) as between:
        cluster["server"] = str(server.with_port(between.port))
        kubeconfig = tmp_path / "disturbed.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        connection = Connection("disturbed", from_kubeconfig(kubeconfig))
        await connection.open()
        yield Disturbed(connection, between, kubeconfig)
        await connection.close()
