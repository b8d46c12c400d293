"""Runs whose submission got no certain answer (law 1): whoever sent it may send it again, so the first must not run too."""

from __future__ import annotations

import asyncio
from functools import partial

from api.context import ApiContext
from api.fresh_rows import known_run
from nexus.backoff import retry
from nexus.domain.errors import NotFound
from nexus.domain.events import RunCancelled, RunRequested

__all__ = ["disown"]

_INITIATOR = "nexus"
_REASON = "Its submission was answered 503, because it was not known whether the log had taken it."


async def disown(context: ApiContext, request: RunRequested) -> None:
    """Cancel the run, if there turns out to be one. Dies with the process: then the answer said what it said."""
    await asyncio.sleep(context.disown_after.total_seconds())
    await retry(partial(_cancel, context, request), "disowning_waits", run=request.request_id)


async def _cancel(context: ApiContext, request: RunRequested) -> None:
    try:
        run = await known_run(context, request.request_id)
    except NotFound:
        return
    if not run.ended:
        cancelled = RunCancelled(
            request_id=run.id,
            algorithm=request.algorithm,
            at=context.clock(),
            reason=_REASON,
            initiator=_INITIATOR,
        )
        await context.journal.append([cancelled])
