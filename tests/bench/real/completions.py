"""Completions answered by `nexus receiver`: with a capability, whose run's row it does not read, beside those without."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.embedded.queue import CONNECTIONS, PROVING, reports
from tests.bench.figures import Pair
from tests.bench.load import Load
from tests.bench.real.kept import opened_store, readable
from tests.bench.real.log import append, make_requests, opened_log
from tests.bench.real.servers import BenchServers, Site
from tests.bench.report import Result, paired

__all__ = ["measure"]


async def measure(servers: BenchServers, rounds: int = 3, count: int = 5_000) -> Result:
    """The runs of each round are folded before, and nothing but the receiver runs while it answers."""
    rates = Pair()
    async with Site.opened(servers) as site, opened_log(site) as log, opened_store(site) as store:
        for _ in range(rounds):
            requests = make_requests(2 * count)
            await append(log, requests)
            ids = [request.request_id for request in requests]
            await site.start("ledger")
            await readable(store, ids, lambda run: True)
            await site.stop("ledger")
            rates.bare.append(await _answered(site, ids[:count], {"auth__reports": "open"}))
            rates.ours.append(await _answered(site, ids[count:], PROVING))
    return Result(
        [paired("completions answered, with a capability", "/s", rates, "1.6 of those without")],
        f"With a capability: {count:,} reports to a receiver that does not read the run's row first, on {CONNECTIONS} connections. Bare: "
        "with `auth.reports: open`, where it does.",
    )


async def _answered(site: Site, ids: Sequence[str], settings: dict[str, str]) -> float:
    site.use(**settings)
    await site.start("receiver")
    installation = site.config.placement.installation if settings is PROVING else ""
    requests = reports("brief", ids, installation)
    load = Load(lambda: next(requests, None))
    await load.run("127.0.0.1", site.receiver.port, CONNECTIONS)
    await site.stop("receiver")
    return load.rate
