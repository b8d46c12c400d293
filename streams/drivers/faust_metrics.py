"""What the Faust apps of this process count, as Prometheus metrics.

Faust's own exporter names its metrics after the app, and registers them once more at each start of an app. So the
figures of its monitors are read here, when somebody asks for `/metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import faust
from faust.sensors import Monitor
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

__all__ = ["counted"]

_COUNTS: dict[str, tuple[str, Callable[[Monitor], float]]] = {
    "nexus_faust_records": ("Records that a Faust app delivered", lambda monitor: monitor.events_total),
    "nexus_faust_rebalances": (
        "Rebalances that a Faust app went through",
        lambda monitor: monitor.rebalances or 0,
    ),
    "nexus_faust_buffer_full": (
        "Times that a Faust app stopped to fetch, because its buffer was full",
        lambda monitor: sum(monitor.topic_buffer_full.values()),
    ),
}


class _Apps(Collector):
    """By the consumer group that each app is a member of, several of one together. A count begins anew with its app."""

    def __init__(self) -> None:
        self.running: list[tuple[str, faust.App]] = []

    def collect(self) -> Iterator[CounterMetricFamily]:
        for name, (meaning, count) in _COUNTS.items():
            family = CounterMetricFamily(name, meaning, labels=["consumers"])
            for consumers in sorted({consumers for consumers, _ in self.running}):
                members = (app for group, app in self.running if group == consumers)
                family.add_metric([consumers], sum(count(app.monitor) for app in members))
            yield family


_apps = _Apps()
REGISTRY.register(_apps)


@contextmanager
def counted(consumers: str, app: faust.App) -> Iterator[None]:
    """Show the counts of this app for as long as it works."""
    member = (consumers, app)
    _apps.running.append(member)
    try:
        yield
    finally:
        _apps.running.remove(member)
