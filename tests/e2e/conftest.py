from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.nexus_process import NexusProcess
from tests.support.servers import S3Server


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


@pytest.fixture(scope="session")
def there(
    kafka_server: str, cassandra_server: str, s3_server: S3Server, kubernetes_server: Path
) -> Mapping[str, str]:
    """How to reach Kafka, Cassandra, S3 and Kubernetes, which others use at the same time."""
    return {
        "NEXUS_TEST_KAFKA": kafka_server,
        "NEXUS_TEST_CASSANDRA": cassandra_server,
        "NEXUS_TEST_S3": s3_server.endpoint,
        "NEXUS_TEST_S3_ACCESS_KEY": s3_server.access_key,
        "NEXUS_TEST_S3_SECRET_KEY": s3_server.secret_key,
        "NEXUS_TEST_KUBECONFIG": str(kubernetes_server),
    }
