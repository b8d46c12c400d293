"""Upstream's scheduler API but for the submission: cancel, results, metadata, buffer, payload, tags (§1.1, §1.3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from litestar import MediaType, Response, get, post
from litestar.params import FromPath, RawBody
from litestar.response import Redirect

from api.contract.plain import SMALL_BODY, Bare404, require_id, text, unavailable
from api.fresh_rows import known_run, settled_end, settled_run
from api.openapi import TEXT_ERRORS, json_body
from api.parameters import Algorithm, RequestId, ServicesOf
from api.services import Services
from nexus.domain.errors import InvalidInput, NotFound, Unavailable
from nexus.domain.events import DeletionPolicy, RunCancelled, RunTagged
from nexus.domain.run import Run, Stage
from nexus.domain.validation import check_tag
from nexus.ports import RunFilter

__all__ = ["scheduler_routes"]

_NEVER = "0001-01-01T00:00:00Z"
_PAGE = 1000


def _paths(tail: str) -> list[str]:
    """The versioned path, and the same as the unversioned latest."""
    return [f"/algorithm/v1/{tail}", f"/algorithm/{tail}"]


class Cancellation(msgspec.Struct, rename="camel"):
    reason: str = ""
    initiator: str = ""
    cancellation_policy: str | None = None


class RunResult(msgspec.Struct, rename="camel"):
    request_id: str
    status: str
    result_uri: str
    run_error_message: str


class TaggedResult(RunResult):
    algorithm_name: str = ""


class TagUpdate(msgspec.Struct, rename="camel"):
    new_tag: str


class Nothing(msgspec.Struct):
    """`{}`"""


@post(
    _paths("cancel/{algorithm:str}/requests/{request_id:str}"),
    status_code=200,
    summary="Cancel a run",
    tags=["runs"],
    opt=json_body(Cancellation),
    request_max_body_size=SMALL_BODY,
    responses=TEXT_ERRORS(400, 404, 503),
    media_type=MediaType.TEXT,
)
async def cancel_run(
    services: ServicesOf, algorithm: Algorithm, request_id: RequestId, body: RawBody
) -> Response[str]:
    """Ends a run in any unfinished stage. A run that has ended stays as it is; that it was asked for is recorded."""
    try:
        cancellation = msgspec.json.decode(body, type=Cancellation)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        return text(400, f"Cancellation payload is invalid: {error}")
    asked_for = cancellation.cancellation_policy or DeletionPolicy.BACKGROUND
    if asked_for not in set(DeletionPolicy):
        return text(
            400,
            f"Invalid cancellation request: invalid CancellationPolicy: '{asked_for[:80]}', "
            "accepted values: Orphan, Foreground or Background",
        )
    try:
        run = await _run_of(services, algorithm, request_id)
        cancelled = RunCancelled(
            request_id=run.id,
            algorithm=algorithm,
            at=services.clock(),
            reason=cancellation.reason,
            initiator=cancellation.initiator,
            policy=DeletionPolicy(asked_for),
        )
        await services.journal.append([cancelled])
    except NotFound:
        return text(404, f"Provided request with identifier '{request_id}' not found")
    except Unavailable as error:
        return unavailable(error)
    return text(200)


@get(
    _paths("results/{algorithm:str}/requests/{request_id:str}"),
    summary="The result of a run",
    tags=["results"],
    responses=TEXT_ERRORS(404, 503),
)
async def get_result(
    services: ServicesOf, algorithm: Algorithm, request_id: RequestId
) -> RunResult | Response[str]:
    try:
        run = await settled_end(services, require_id(request_id), algorithm)
    except NotFound:
        return text(404)
    except Unavailable as error:
        return unavailable(error)
    return RunResult(run.id, run.stage.value, run.result_uri, _cause(run))


@get(_paths("results/tags/{tag:str}"), summary="The results of all runs with a tag", tags=["results"])
async def get_tagged(services: ServicesOf, tag: FromPath[str]) -> list[TaggedResult]:
    runs: list[Run] = []
    while page := await services.store.find(RunFilter(tag=tag), _PAGE, runs[-1].id if runs else ""):
        runs += page
    return [
        TaggedResult(run.id, run.stage.value, run.result_uri, _cause(run), run.request.algorithm)
        for run in runs
    ]


@get(
    _paths("metadata/{algorithm:str}/requests/{request_id:str}"),
    summary="Everything that is kept of a run",
    tags=["results"],
    responses=TEXT_ERRORS(404, 503),
)
async def get_metadata(
    services: ServicesOf, algorithm: Algorithm, request_id: RequestId
) -> dict[str, Any] | Response[Any] | Bare404:
    try:
        run = await settled_run(services, require_id(request_id), algorithm)
    except NotFound:
        return Bare404()
    except Unavailable as error:
        return unavailable(error)
    return await _checkpoint(services, run)


@get(
    _paths("buffer/{algorithm:str}/requests/{request_id:str}"),
    summary="The Job that was or will be submitted for a run",
    tags=["results"],
    media_type=MediaType.TEXT,
    responses=TEXT_ERRORS(404, 503),
)
async def get_buffer(services: ServicesOf, algorithm: Algorithm, request_id: RequestId) -> Response[str]:
    try:
        run = await _run_of(services, algorithm, request_id)
    except NotFound:
        return text(404)
    except Unavailable as error:
        return unavailable(error)
    job = services.materializer.job(run.request, await _payload_url(services, run))
    return text(200, msgspec.json.encode(job).decode())


@get(
    _paths("payload/{algorithm:str}/requests/{request_id:str}"),
    summary="Go to the payload of a run",
    tags=["payloads"],
    status_code=302,
    responses=TEXT_ERRORS(404, 503),
)
async def get_payload(
    services: ServicesOf, algorithm: Algorithm, request_id: RequestId
) -> Redirect | Response[str]:
    try:
        run = await _run_of(services, algorithm, request_id)
    except NotFound:
        return text(404)
    except Unavailable as error:
        return unavailable(error)
    return Redirect(await _payload_url(services, run), status_code=302)


@post(
    _paths("metadata/tags/{algorithm:str}/requests/{request_id:str}"),
    status_code=200,
    summary="Change the tag of a run",
    tags=["runs"],
    opt=json_body(TagUpdate),
    request_max_body_size=SMALL_BODY,
    responses=TEXT_ERRORS(400, 404, 503),
)
async def update_tag(
    services: ServicesOf, algorithm: Algorithm, request_id: RequestId, body: RawBody
) -> Nothing | Response[str]:
    try:
        update = msgspec.json.decode(body, type=TagUpdate)
        check_tag("newTag", update.new_tag)
        run = await _run_of(services, algorithm, request_id)
        tagged = RunTagged(request_id=run.id, algorithm=algorithm, at=services.clock(), tag=update.new_tag)
        await services.journal.append([tagged])
    except (msgspec.ValidationError, msgspec.DecodeError, InvalidInput) as error:
        return text(400, f"Invalid tag update request: {error}")
    except NotFound:
        return text(404, f"Checkpoint {request_id}/{algorithm} not found")
    except Unavailable as error:
        return unavailable(error)
    return Nothing()


async def _run_of(services: Services, algorithm: str, request_id: str) -> Run:
    run = await known_run(services, require_id(request_id))
    if run.request.algorithm != algorithm:
        raise NotFound(f"there is no run {run.id} of the algorithm {algorithm}")
    return run


def _cause(run: Run) -> str:
    return run.diagnosis.cause if run.diagnosis and run.stage is not Stage.COMPLETED else ""


async def _payload_url(services: Services, run: Run) -> str:
    """Signed anew for each reader: projections hold no secrets."""
    return await services.urls.url(run.request, services.clock(), timedelta(0))


async def _checkpoint(services: Services, run: Run) -> dict[str, Any]:
    """Upstream's checkpoint (contract §1.1): strings always there, objects and the rest left out when empty."""
    request = run.request
    diagnosis = run.diagnosis
    always: dict[str, Any] = {
        "algorithm": request.algorithm,
        "id": run.id,
        "lifecycle_stage": run.stage.value,
        "payload_uri": await _payload_url(services, run),
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


scheduler_routes = [cancel_run, get_result, get_tagged, get_metadata, get_buffer, get_payload, update_tag]
