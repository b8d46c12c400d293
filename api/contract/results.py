"""What upstream's clients read of runs: results, metadata, buffer, payload (§1.1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from litestar import MediaType, Response, get
from litestar.params import FromPath
from litestar.response import Redirect

from api.access.caller import CallerOf
from api.context import ApiContext
from api.contract.plain import Bare404, paths, require_id, text
from api.fresh_rows import current_end, current_run, known_run
from api.openapi import TEXT_ERRORS
from api.parameters import Algorithm, ContextOf, RequestId
from nexus.domain.errors import NotFound
from nexus.domain.run import Run, Stage
from nexus.ports import RunFilter

__all__ = ["result_routes"]

_NEVER = "0001-01-01T00:00:00Z"
_PAGE = 1000


class RunResult(msgspec.Struct, rename="camel"):
    request_id: str
    status: str
    result_uri: str
    run_error_message: str


class TaggedResult(RunResult):
    algorithm_name: str = ""


@get(
    paths("results/{algorithm:str}/requests/{request_id:str}"),
    summary="The result of a run",
    tags=["results"],
    responses=TEXT_ERRORS(404, 503),
)
async def get_result(
    context: ContextOf, algorithm: Algorithm, request_id: RequestId
) -> RunResult | Response[str]:
    try:
        run = await current_end(context, require_id(request_id), algorithm)
    except NotFound:
        return text(404)
    return RunResult(run.id, run.stage.value, run.result_uri, _cause(run))


@get(paths("results/tags/{tag:str}"), summary="The results of all runs with a tag", tags=["results"])
async def get_tagged(context: ContextOf, caller: CallerOf, tag: FromPath[str]) -> list[TaggedResult]:
    """Of those that the caller may list and read."""
    runs: list[Run] = []
    while page := await context.store.find(RunFilter(tag=tag), _PAGE, runs[-1].id if runs else ""):
        runs += page
    return [
        TaggedResult(run.id, run.stage.value, run.result_uri, _cause(run), run.request.algorithm)
        for run in runs
        if caller.sees(run.request.algorithm)
    ]


@get(
    paths("metadata/{algorithm:str}/requests/{request_id:str}"),
    summary="Everything that is kept of a run",
    tags=["results"],
    responses=TEXT_ERRORS(404, 503),
)
async def get_metadata(
    context: ContextOf, algorithm: Algorithm, request_id: RequestId
) -> dict[str, Any] | Response[Any] | Bare404:
    try:
        run = await current_run(context, require_id(request_id), algorithm)
    except NotFound:
        return Bare404()
    return await _checkpoint(context, run)


@get(
    paths("buffer/{algorithm:str}/requests/{request_id:str}"),
    summary="The Job that was or will be submitted for a run",
    tags=["results"],
    media_type=MediaType.TEXT,
    responses=TEXT_ERRORS(404, 503),
)
async def get_buffer(context: ContextOf, algorithm: Algorithm, request_id: RequestId) -> Response[str]:
    try:
        run = await known_run(context, require_id(request_id), algorithm)
    except NotFound:
        return text(404)
    job = context.materializer.job(run.request, await _payload_url(context, run))
    return text(200, msgspec.json.encode(job).decode())


@get(
    paths("payload/{algorithm:str}/requests/{request_id:str}"),
    summary="Go to the payload of a run",
    tags=["payloads"],
    status_code=302,
    responses=TEXT_ERRORS(404, 503),
)
async def get_payload(
    context: ContextOf, algorithm: Algorithm, request_id: RequestId
) -> Redirect | Response[str]:
    try:
        run = await known_run(context, require_id(request_id), algorithm)
    except NotFound:
        return text(404)
    return Redirect(await _payload_url(context, run), status_code=302)


def _cause(run: Run) -> str:
    return run.diagnosis.cause if run.diagnosis and run.stage is not Stage.COMPLETED else ""


async def _payload_url(context: ApiContext, run: Run) -> str:
    """Signed anew for each reader: projections hold no secrets."""
    return await context.urls.url(run.request, context.clock(), timedelta(0))


async def _checkpoint(context: ApiContext, run: Run) -> dict[str, Any]:
    """Upstream's checkpoint (contract §1.1): strings always there, objects and the rest left out when empty."""
    request = run.request
    diagnosis = run.diagnosis
    always: dict[str, Any] = {
        "algorithm": request.algorithm,
        "id": run.id,
        "lifecycle_stage": run.stage.value,
        "payload_uri": await _payload_url(context, run),
        "result_uri": run.result_uri,
        "algorithm_failure_cause": diagnosis.cause if diagnosis else "",
        "algorithm_failure_details": diagnosis.details if diagnosis else "",
        "received_by_host": request.received_by,
        "received_at": request.at,
        "sent_at": run.sent_at or _NEVER,
        "last_modified": run.last_modified,
        "content_hash": request.content_hash,
        "api_version": request.api_version,
    }
    optional: dict[str, Any] = {
        "applied_configuration": request.spec,
        "configuration_overrides": request.overrides,
        "tag": run.tag,
        "job_uid": run.job_uid,
        "parent": request.parent,
        "payload_valid_for": request.payload_valid_for,
    }
    return always | {key: value for key, value in optional.items() if value}


result_routes: list[Any] = [get_result, get_tagged, get_metadata, get_buffer, get_payload]
