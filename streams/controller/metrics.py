"""What a controller has done and has yet to do, as Prometheus metrics. They are read when somebody asks for `/metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

__all__ = ["WRITES", "Gauges", "shown"]

WRITES = Counter(
    "nexus_controller_writes_total", "Copies that were written or deleted, or not", ["cluster", "outcome"]
)
"""`outcome`: `done` or `failed`."""

_GAUGES = {
    "queue": "Objects that wait for their turn, or are worked on",
    "failing": "Objects whose last write failed; it is tried again",
    "copies": "Objects in a shard that the controller made",
    "unreachable": "Whether a shard does not answer, has not the definitions, or is another cluster twice",
}


class Gauges(NamedTuple):
    """Of one cluster."""

    cluster: str
    queue: int
    failing: int
    copies: int
    unreachable: bool


class _Leader(Protocol):
    def gauges(self) -> Iterable[Gauges]: ...


class _Leaders(Collector):
    """Of this process: one at most, as long as it leads."""

    def __init__(self) -> None:
        self.running: list[_Leader] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "nexus_controller_leads", "Whether this replica is the one that works", len(self.running)
        )
        found = [gauges for leader in self.running for gauges in leader.gauges()]
        for name, meaning in _GAUGES.items():
            family = GaugeMetricFamily(f"nexus_controller_{name}", meaning, labels=["cluster"])
            for gauges in found:
                family.add_metric([gauges.cluster], float(getattr(gauges, name)))
            yield family


_leaders = _Leaders()
REGISTRY.register(_leaders)


@contextmanager
def shown(leader: _Leader) -> Iterator[None]:
    """Show its gauges for as long as it works."""
    _leaders.running.append(leader)
    try:
        yield
    finally:
        _leaders.running.remove(leader)
