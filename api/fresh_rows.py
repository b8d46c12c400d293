"""Reading rows so that a caller sees what it, or an algorithm, was told before."""

from __future__ import annotations

from api.context import ApiContext
from api.waiting import waited
from nexus.domain.errors import NotFound, Unavailable
from nexus.domain.ids import parse_request_id
from nexus.domain.run import Run

__all__ = ["current_end", "current_run", "known_run"]

_PAUSE = 0.01


async def known_run(context: ApiContext, request_id: str, algorithm: str | None = None) -> Run:
    """The row, however old. NotFound only once everything accepted before this call is known to be folded.

    A run of another `algorithm` is NotFound, as upstream keys its rows by both. Raises InvalidInput for what is no
    request id, Unavailable where the projections are too far behind to tell.
    """
    request_id = parse_request_id(request_id)
    run = await context.store.get(request_id)
    if run is None:
        caught_up = await _caught_up(context)
        run = await context.store.get(request_id)
        if run is None and not caught_up:
            raise Unavailable(
                "the projections are behind the log, and it is not known yet whether the run exists: try again"
            )
    if run is None:
        raise NotFound(f"there is no run {request_id}")
    if algorithm is not None and run.request.algorithm != algorithm:
        raise NotFound(f"there is no run {run.id} of the algorithm {algorithm}")
    return run


async def current_run(context: ApiContext, request_id: str, algorithm: str | None = None) -> Run:
    """The row with everything that was accepted before this call, or after `read_wait` as far as the ledger got."""
    return await _settled(context, await known_run(context, request_id, algorithm))


async def current_end(context: ApiContext, request_id: str, algorithm: str) -> Run:
    """The same for who only asks whether and how a run ended: an end that is there is final, and need not wait."""
    run = await known_run(context, request_id, algorithm)
    return run if run.ended else await _settled(context, run)


async def _settled(context: ApiContext, run: Run) -> Run:
    await _caught_up(context)
    return await context.store.get(run.id) or run


async def _caught_up(context: ApiContext) -> bool:
    """Wait until the watermark has passed this moment; False when `read_wait` was not enough."""
    asked = context.clock()

    async def passed() -> bool:
        watermark = await context.store.watermark()
        return watermark is not None and watermark >= asked

    return await waited(context, passed, _PAUSE)
