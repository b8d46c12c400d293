"""Our own view of runs: list, one run, its history, and what is left of those that ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter

from api.context import ApiContext
from api.fresh_rows import current_run
from api.parameters import ContextOf, RequestId
from nexus.domain.errors import InvalidInput
from nexus.domain.events import encode_event
from nexus.domain.ids import parse_request_id
from nexus.domain.reachability import unreachable_since
from nexus.domain.run import Run, Stage
from nexus.ports import RunFilter
from nexus.views import GarbageReport, RunEvent, RunEvents, RunPage, RunView

__all__ = ["run_routes"]

_LARGEST_PAGE = 1000


class Problem(msgspec.Struct):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str


def _problems(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(Problem, media_type="application/problem+json", generate_examples=False)
        for status in statuses
    }


@get("/api/v1/runs", summary="List runs, newest first", tags=["api"], responses=_problems(400, 503))
async def list_runs(
    context: ContextOf,
    algorithm: FromQuery[str | None] = None,
    stage: Annotated[str | None, QueryParameter(description="Such as RUNNING or FAILED")] = None,
    tag: FromQuery[str | None] = None,
    parent: Annotated[str | None, QueryParameter(description="The request id of the parent")] = None,
    since: Annotated[datetime | None, QueryParameter(description="Received at or after")] = None,
    until: Annotated[datetime | None, QueryParameter(description="Received before")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=_LARGEST_PAGE)] = 100,
    cursor: Annotated[str | None, QueryParameter(description="As the page before answered it")] = None,
) -> RunPage:
    where = RunFilter(
        algorithm=algorithm,
        stage=_stage(stage),
        tag=tag,
        parent=parent,
        since=_aware("since", since),
        until=_aware("until", until),
    )
    after = parse_request_id(cursor) if cursor else ""
    runs = await context.store.find(where, limit + 1, after)
    page = runs[:limit]
    return RunPage(await _views(context, page), page[-1].id if len(runs) > limit else None)


@get("/api/v1/runs/{request_id:str}", summary="One run", tags=["api"], responses=_problems(400, 404, 503))
async def get_run(context: ContextOf, request_id: RequestId) -> RunView:
    [view] = await _views(context, [await current_run(context, request_id)])
    return view


@get(
    "/api/v1/runs/{request_id:str}/events",
    summary="The history of a run",
    tags=["api"],
    responses=_problems(400, 404, 503),
)
async def get_events(context: ContextOf, request_id: RequestId) -> Response[RunEvents]:
    run = await current_run(context, request_id)
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


@get("/api/v1/garbage", summary="What would be swept up now", tags=["api"], responses=_problems(400, 503))
async def get_garbage(
    context: ContextOf, limit: Annotated[int, QueryParameter(ge=1, le=_LARGEST_PAGE)] = 100
) -> GarbageReport:
    """Jobs whose runs have ended or are not there, and payloads past their time. Nothing is removed by asking."""
    return await context.garbage(limit)


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
