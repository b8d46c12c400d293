"""What Faust counts is on `/metrics`, by consumer group."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from tests.contract.engines import Drivers, FaustEngine
from tests.contract.test_driver import Holding


@pytest.fixture
async def drivers(kafka_server):
    engine = FaustEngine(kafka_server)
    await engine.start()
    drivers = Drivers(engine, patience=30)
    yield drivers
    await drivers.close()


async def test_the_counts_of_an_app_are_shown_while_it_works(drivers):
    def count(name: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"consumers": drivers.engine.group("tests")})

    assert count("nexus_faust_records_total") is None
    await drivers.engine.append(*range(20))
    processor = Holding()
    driver = drivers.drive(processor)
    await drivers.until(lambda: len(processor.held) == 20)
    assert count("nexus_faust_records_total") == 20
    assert (count("nexus_faust_rebalances_total") or 0) >= 1
    assert count("nexus_faust_buffer_full_total") == 0
    await drivers.stop(driver)
    assert count("nexus_faust_records_total") is None
