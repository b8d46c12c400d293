"""`nexus dev` with a real engine in the place of each embedded one, alone and together."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from nexus.config import Cassandra
from tests.e2e.installation import BUCKET, drop_namespace, drop_topics, make_bucket, make_namespace
from tests.e2e.nexus_process import TEMPLATES, NexusProcess
from tests.support.cassandra import drop_keyspaces

KWOK = Path(__file__).parent / "kwok"
LARGE = 100_000


# The flag of each engine, and the key that it stands for.
KEYS = {
    "kafka": "kafka__servers",
    "cassandra": "cassandra__hosts",
    "s3": "s3__endpoint",
    "kubeconfig": "kubernetes__kubeconfig",
}


@pytest.mark.parametrize(
    "engines",
    [["kafka"], ["cassandra"], ["s3"], ["kubeconfig"], ["kafka", "cassandra", "s3", "kubeconfig"]],
    ids="-".join,
)
async def test_one_behaviour_on_any_mix(there, tmp_path, engines):
    name = f"t{uuid.uuid4().hex[:8]}"
    await make_bucket(there, BUCKET)
    await make_namespace(Path(there["NEXUS_TEST_KUBECONFIG"]), name)
    addresses = {
        "kafka": there["NEXUS_TEST_KAFKA"],
        "cassandra": there["NEXUS_TEST_CASSANDRA"],
        "s3": there["NEXUS_TEST_S3"],
        "kubeconfig": there["NEXUS_TEST_KUBECONFIG"],
    }
    flags = [f"--{engine}={addresses[engine]}{f'/{BUCKET}' if engine == 's3' else ''}" for engine in engines]
    on_kubernetes = "kubeconfig" in engines
    settings = {
        "placement__installation": name,
        "kafka__prefix": name,
        "s3__prefix": name,
        "supervision__linger": "1s",
        "cassandra__keyspace": name,
        "kubernetes__namespace": name,
        "s3__access_key": there["NEXUS_TEST_S3_ACCESS_KEY"],
        "s3__secret_key": there["NEXUS_TEST_S3_SECRET_KEY"],
    }
    templates = KWOK if on_kubernetes else TEMPLATES
    nexus = NexusProcess(tmp_path, templates, flags=flags, **settings)
    await nexus.start()
    for pad in ("", "x" * LARGE):
        run = await _completed(nexus, {"mode": "success", "pad": pad}, played=on_kubernetes)
        events = await nexus.event_types(run)
        assert events[0] == "RunRequested"
        assert {"JobCreated", "RunCompleted", "JobCollected"} <= set(events)
    # Commands beside it have no such flags.
    settings |= {KEYS[engine]: addresses[engine] for engine in engines}
    verified = NexusProcess(tmp_path, templates, **settings).command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert nexus.stop() == 0
    await nexus.http.aclose()
    await drop_topics(there["NEXUS_TEST_KAFKA"], name)
    await drop_keyspaces(Cassandra(hosts=there["NEXUS_TEST_CASSANDRA"]), name)
    await drop_namespace(Path(there["NEXUS_TEST_KUBECONFIG"]), name)


async def _completed(nexus: NexusProcess, parameters: dict[str, Any], *, played: bool) -> str:
    """A run that reads its payload, where its pod is one, and reports; its Job is collected."""
    # A pod that ends by itself may do so before it has reported, on a slow machine.
    algorithm = "long" if played else "scripted"
    run = await nexus.submit(algorithm, parameters)
    if played:
        await nexus.reached(run, "running")
        payload = await nexus.http.get(
            f"/algorithm/v1/payload/{algorithm}/requests/{run}", follow_redirects=True
        )
        assert payload.json() == parameters
        report = await nexus.http.post(
            f"/algorithm/v1/complete/{algorithm}/requests/{run}", json={"resultUri": "s3://results/1"}
        )
        assert report.status_code == 202
    ended = await nexus.ended(run)
    assert ended["stage"] == "COMPLETED", ended
    await nexus.collected(run)
    return run
