from __future__ import annotations

import pytest
import pytest_asyncio

from tests.e2e.installation import Servers
from tests.e2e.nexus_process import NexusProcess


@pytest.fixture(scope="session")
def state_of_session(tmp_path_factory):
    return tmp_path_factory.mktemp("nexus")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nexus(state_of_session):
    """One `nexus dev` that all scenarios share: their runs do not touch each other."""
    process = NexusProcess(state_of_session)
    await process.start()
    yield process
    await process.http.aclose()
    assert process.stop() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory):
    """Kafka, Cassandra, S3 and Kubernetes of this module alone, which may stop and kill them."""
    servers = Servers(tmp_path_factory.mktemp("servers"))
    await servers.start()
    yield servers
    await servers.stop()
