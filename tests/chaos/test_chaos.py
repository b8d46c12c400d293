"""A short storm: everything is killed at least once, and each server is away for long."""

from __future__ import annotations

from tests.chaos.storm import storm
from tests.chaos.targets import Hit

LONG = 20.0
"""Seconds: beyond what clients of Kafka, Cassandra, S3 and Kubernetes wait and try again by themselves."""
HITS = [
    Hit(["scheduler", "kafka"], 0.2, LONG),
    Hit(["ledger", "cassandra"], 0.2, LONG),
    Hit(["api", "s3"], 0.0, LONG),
    Hit(["apiserver", "watcher"], 0.0, LONG),
    Hit(["etcd", "supervisor"], 0.0, 2.0),
    Hit(["receiver", "ledger-2", "scheduler-2"], 0.1, 1.0),
]
_RATE = 2.0
"""Submissions a second: what a small machine gets through with everything on it, so that all is soon calm."""


async def test_a_short_storm(own_servers, tmp_path):
    came = await storm(tmp_path, own_servers, 1, HITS, _RATE, lambda: True, print)
    assert came.clean, came
    assert came.ended.total() == came.accepted
    assert came.accepted > len(HITS) * 10
