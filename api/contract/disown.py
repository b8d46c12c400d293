"""Runs whose submission got no certain answer (law 1): whoever sent it may send it again, so the first must not run too."""

from __future__ import annotations

import asyncio

import structlog

from api.fresh_rows import known_run
from api.services import Services
from nexus.domain.errors import NotFound, Unavailable
from nexus.domain.events import RunCancelled, RunRequested

__all__ = ["disown"]

_log = structlog.get_logger(__name__)

_INITIATOR = "nexus"
_REASON = "Its submission was answered 503, because it was not known whether the log had taken it."
_PAUSE = 1.0


async def disown(services: Services, request: RunRequested) -> None:
    """Cancel the run, if there turns out to be one. Dies with the process: then the answer said what it said."""
    await asyncio.sleep(services.settle_after.total_seconds())
    while True:
        try:
            run = await known_run(services, request.request_id)
            if not run.ended:
                cancelled = RunCancelled(
                    request_id=run.id,
                    algorithm=request.algorithm,
                    at=services.clock(),
                    reason=_REASON,
                    initiator=_INITIATOR,
                )
                await services.journal.append([cancelled])
        except NotFound:
            return
        except Unavailable as error:
            _log.warning("disowning_waits", run=request.request_id, problem=str(error))
            await asyncio.sleep(_PAUSE)
        else:
            return
