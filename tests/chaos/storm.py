"""One storm: load, hits, calm, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import httpx

from tests.chaos.load import Load
from tests.chaos.outcome import Outcome, outcome
from tests.chaos.targets import ROLES, Hit, Targets
from tests.e2e.installation import Installation, installed
from tests.support.own_servers import OwnServers

__all__ = ["storm"]

_SETTINGS = {
    # Many short Jobs are in flight at each hit, and what was interrupted is looked at soon.
    "throttle__rate": "40",
    "throttle__burst": "20",
    "supervision__check_after": "10s",
    "supervision__missed_after": "10s",
    "placement__defer_after": "20s",
    "logging__level": "warning",
}
_GETS_ON = 10
"""So many runs have to end after each hit, before the next."""
_PATIENCE = 300.0
"""Seconds in which that has to happen, and in which everything has to end at last, after the last hit."""
_LOOK_AGAIN = 1.0
"""Seconds between two looks at runs, which take the machine from what the storm is about."""
_LOOK_AT_ALL = 5.0
"""The same where it is all of them."""


async def storm(
    folder: Path,
    servers: OwnServers,
    seed: int,
    hits: Iterable[Hit],
    rate: float,
    going_on: Callable[[], bool],
    tell: Callable[[str], None],
) -> Outcome:
    """Hits while `going_on`, under `rate` submissions a second. Raises AssertionError where Nexus does not get on by itself."""
    async with installed(folder, servers.variables, *ROLES, **_SETTINGS) as (nexus, algorithms):
        load, targets = Load(nexus, seed, rate, algorithms.reported), Targets(nexus, servers)
        submitting = asyncio.create_task(load.run())
        try:
            await _gets_on(nexus, load, 1)
            for hit in hits:
                if not going_on():
                    break
                tell(f"{len(load.accepted):6d} accepted, hits {hit}")
                await targets.hit(hit)
                await _gets_on(nexus, load, _GETS_ON)
        finally:
            submitting.cancel()
            with suppress(asyncio.CancelledError):
                await submitting
        tell(f"{len(load.accepted):6d} accepted, calm")
        await _calm(nexus)
        return await outcome(nexus, algorithms, load.accepted)


async def _gets_on(nexus: Installation, load: Load, count: int) -> None:
    """So many more runs were accepted, and then ended."""
    accepted = len(load.accepted)

    async def more_accepted() -> bool:
        return len(load.accepted) >= accepted + count

    await nexus.until(more_accepted, _PATIENCE, _LOOK_AGAIN)
    expected = set(list(load.accepted)[accepted : accepted + count])

    async def ended() -> bool:
        for run in list(expected):
            with suppress(httpx.TransportError, AssertionError):
                if (await nexus.run(run))["state"] == "ended":
                    expected.discard(run)
        return not expected

    await nexus.until(ended, _PATIENCE, _LOOK_AGAIN)


async def _calm(nexus: Installation) -> None:
    """Wait until every run has ended and its Job is gone, or until nothing has moved for long."""

    async def unfinished() -> set[str]:
        return {run["requestId"] async for run in nexus.all_runs() if _goes_on(run)}

    with suppress(AssertionError):  # what is left then is the outcome's to tell
        await nexus.until_none(unfinished, _PATIENCE, _LOOK_AT_ALL)


def _goes_on(run: dict[str, object]) -> bool:
    return run["state"] != "ended" or bool(run["jobUid"] and not run["collectedAt"])
