"""Reading rows so that a caller sees what it, or an algorithm, was told before."""

from __future__ import annotations

import asyncio

from api.services import Services
from nexus.domain.errors import NotFound, Unavailable
from nexus.domain.ids import parse_request_id
from nexus.domain.run import Run

__all__ = ["known_run", "settled_end", "settled_run"]

_PAUSE = 0.01


async def known_run(services: Services, request_id: str, algorithm: str | None = None) -> Run:
    """The row, however old. NotFound only once everything accepted before this call is known to be folded.

    A run of another `algorithm` is NotFound, as upstream keys its rows by both. Raises InvalidInput for what is no
    request id, Unavailable where the projections are too far behind to tell.
    """
    request_id = parse_request_id(request_id)
    run = await services.store.get(request_id)
    if run is None:
        caught_up = await _caught_up(services)
        run = await services.store.get(request_id)
        if run is None and not caught_up:
            raise Unavailable(
                "the projections are behind the log, and it is not known yet whether the run exists: try again"
            )
    if run is None:
        raise NotFound(f"there is no run {request_id}")
    if algorithm is not None and run.request.algorithm != algorithm:
        raise NotFound(f"there is no run {run.id} of the algorithm {algorithm}")
    return run


async def settled_run(services: Services, request_id: str, algorithm: str | None = None) -> Run:
    """The row with everything that was accepted before this call, or after `read_wait` as far as the ledger got."""
    return await _settled(services, await known_run(services, request_id, algorithm))


async def settled_end(services: Services, request_id: str, algorithm: str) -> Run:
    """The same for who only asks whether and how a run ended: an end that is there is final, and need not wait."""
    run = await known_run(services, request_id, algorithm)
    return run if run.ended else await _settled(services, run)


async def _settled(services: Services, run: Run) -> Run:
    await _caught_up(services)
    return await services.store.get(run.id) or run


async def _caught_up(services: Services) -> bool:
    """Wait until the watermark has passed this moment; False when `read_wait` was not enough."""
    asked = services.clock()
    while (watermark := await services.store.watermark()) is None or watermark < asked:
        if services.clock() - asked > services.read_wait:
            return False
        await asyncio.sleep(_PAUSE)
    return True
