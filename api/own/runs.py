"""Our own view of runs: list, one run, its history, and what is left of those that ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.params import FromQuery, QueryParameter

from api.access.caller import Caller, CallerOf
from api.context import ApiContext
from api.fresh_rows import current_run
from api.own.problems import problems
from api.parameters import ContextOf, RequestId
from nexus.domain.access import Verb
from nexus.domain.errors import InvalidInput
from nexus.domain.events import encode_event
from nexus.domain.ids import parse_request_id
from nexus.domain.reachability import unreachable_since
from nexus.domain.run import Run, Stage
from nexus.ports import RunFilter
from nexus.views import GarbageReport, RunEvent, RunEvents, RunPage, RunView

__all__ = ["run_routes"]

_LARGEST_PAGE = 1000
_LOOKED_AT = 2000
"""Rows that are read for a page of those that the caller may see, at most, where the page is no larger."""


@get("/api/v1/runs", summary="List runs, newest first", tags=["api"], responses=problems(400, 503))
async def list_runs(
    context: ContextOf,
    caller: CallerOf,
    algorithm: FromQuery[str | None] = None,
    stage: Annotated[str | None, QueryParameter(description="Such as RUNNING or FAILED")] = None,
    tag: FromQuery[str | None] = None,
    parent: Annotated[str | None, QueryParameter(description="The request id of the parent")] = None,
    since: Annotated[datetime | None, QueryParameter(description="Received at or after")] = None,
    until: Annotated[datetime | None, QueryParameter(description="Received before")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=_LARGEST_PAGE)] = 100,
    cursor: Annotated[str | None, QueryParameter(description="As the page before answered it")] = None,
) -> RunPage:
    """Of those that the caller may list and read. A page may be shorter than `limit`, and have a cursor all the same."""
    if algorithm is not None:
        caller.require(Verb.LIST, algorithm)
    where = RunFilter(
        algorithm=algorithm,
        stage=_stage(stage),
        tag=tag,
        parent=parent,
        since=_aware("since", since),
        until=_aware("until", until),
    )
    after = parse_request_id(cursor) if cursor else ""
    runs, more = await _readable(context, caller, where, limit, after)
    return RunPage(await _views(context, runs), more)


@get("/api/v1/runs/{request_id:str}", summary="One run", tags=["api"], responses=problems(400, 404, 503))
async def get_run(context: ContextOf, caller: CallerOf, request_id: RequestId) -> RunView:
    run = await current_run(context, request_id)
    caller.require(Verb.READ, run.request.algorithm)
    [view] = await _views(context, [run])
    return view


@get(
    "/api/v1/runs/{request_id:str}/events",
    summary="The history of a run",
    tags=["api"],
    responses=problems(400, 404, 503),
)
async def get_events(context: ContextOf, caller: CallerOf, request_id: RequestId) -> Response[RunEvents]:
    run = await current_run(context, request_id)
    caller.require(Verb.AUDIT, run.request.algorithm)
    history = await context.store.history(run.id)
    events = [
        RunEvent(
            entry.event_id,
            type(entry.event).__name__,
            entry.event.at,
            entry.offset,
            msgspec.json.decode(encode_event(entry.event)),
        )
        for entry in history
    ]
    return Response(RunEvents(events))


@get("/api/v1/garbage", summary="What would be swept up now", tags=["api"], responses=problems(400, 503))
async def get_garbage(
    context: ContextOf, limit: Annotated[int, QueryParameter(ge=1, le=_LARGEST_PAGE)] = 100
) -> GarbageReport:
    """Jobs whose runs have ended or are not there, and payloads past their time. Nothing is removed by asking."""
    return await context.garbage(limit)


async def _readable(
    context: ApiContext, caller: Caller, where: RunFilter, limit: int, after: str
) -> tuple[list[Run], str | None]:
    """At most `limit` runs that the caller may see, of a bounded number that were looked at; and where to go on."""
    shown: list[Run] = []
    left = max(limit, _LOOKED_AT)
    while True:
        wanted = min(limit - len(shown), left)
        runs = await context.store.find(where, wanted + 1, after)
        for run in runs[:wanted]:
            if caller.sees(run.request.algorithm):
                shown.append(run)
        if len(runs) <= wanted:
            return shown, None
        after, left = runs[wanted - 1].id, left - wanted
        if len(shown) == limit or not left:
            return shown, after


def _stage(text: str | None) -> Stage | None:
    try:
        return Stage(text) if text is not None else None
    except ValueError:
        raise InvalidInput("stage", f"{text!r} is none of {', '.join(Stage)}") from None


def _aware(field: str, moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidInput(field, "needs a time zone, such as 2026-01-31T12:00:00Z")
    return moment


async def _views(context: ApiContext, runs: Sequence[Run]) -> list[RunView]:
    """Of runs that have not ended it is told as well since when their cluster has not been heard."""
    contacts = [] if all(run.ended for run in runs) else await context.store.contacts()
    now = context.clock()
    return [_view(run, unreachable_since(run, contacts, now, context.unreachable_after)) for run in runs]


def _view(run: Run, unheard: datetime | None) -> RunView:
    request = run.request
    return RunView(
        request_id=run.id,
        algorithm=request.algorithm,
        state=run.state,
        stage=run.stage,
        cluster=request.cluster,
        workgroup=request.workgroup,
        tag=run.tag,
        parent=request.parent,
        dry_run=request.dry_run,
        received_at=request.at,
        placement_deadline=request.placement_deadline,
        submitted_by=request.subject,
        cancelled_by=run.cancelled_subject,
        tenant=request.tenant,
        sent_at=run.sent_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        collected_at=run.collected_at,
        deferred_until=run.deferred_until,
        deferred_because=run.deferred_because,
        stalled=run.stalled,
        stalled_since=run.stalled_since,
        job_uid=run.job_uid,
        result_uri=run.result_uri,
        diagnosis=run.diagnosis,
        unheard_since=unheard,
    )


run_routes = [list_runs, get_run, get_events, get_garbage]
