"""What a controller shows on `/metrics`, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY

from streams.controller.metrics import Gauges, shown


class Leader:
    def gauges(self) -> Iterator[Gauges]:
        yield Gauges("eu", queue=3, failing=1, copies=7, unreachable=False)
        yield Gauges("us", queue=0, failing=0, copies=0, unreachable=True)


def test_the_figures_of_a_leader_are_shown_by_cluster_while_it_leads():
    assert REGISTRY.get_sample_value("nexus_controller_leads") == 0
    with shown(Leader()):
        assert REGISTRY.get_sample_value("nexus_controller_leads") == 1
        names = ("queue", "failing", "copies", "unreachable")
        by_cluster = {
            cluster: [
                REGISTRY.get_sample_value(f"nexus_controller_{name}", {"cluster": cluster}) for name in names
            ]
            for cluster in ("eu", "us")
        }
        assert by_cluster == {"eu": [3, 1, 7, 0], "us": [0, 0, 0, 1]}
    assert REGISTRY.get_sample_value("nexus_controller_leads") == 0
    assert REGISTRY.get_sample_value("nexus_controller_queue", {"cluster": "eu"}) is None
