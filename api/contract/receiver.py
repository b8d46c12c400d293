"""Upstream's receiver API (§1.2): algorithms report how they ended, and ask whether that was taken in."""

from __future__ import annotations

import msgspec
import structlog
from litestar import Response, get, post
from litestar.params import RawBody

from api.access.algorithms import dead_letter
from api.context import ApiContext
from api.contract.plain import REPORT, Nothing, paths, require_id, text
from api.fresh_rows import current_end, known_run
from api.openapi import TEXT_ERRORS, json_body
from api.parameters import Algorithm, CapabilityOf, ContextOf, RequestId
from nexus.domain import bounds
from nexus.domain.bounds import cut
from nexus.domain.decoding import decoded, mended
from nexus.domain.errors import InvalidInput, NotFound, Unauthenticated
from nexus.domain.events import REPORTED, DeadLettered, Diagnosis, RunCompleted, RunFailed
from nexus.domain.ids import parse_request_id
from nexus.domain.run import Run
from nexus.domain.texts import storable

__all__ = ["receiver_routes"]

_log = structlog.get_logger(__name__)


class Completion(msgspec.Struct, rename="camel"):
    """An `errorCause` makes it a failure. `null` means unset, as Go clients write it."""

    result_uri: str | None = None
    error_cause: str | None = None
    error_details: str | None = None


_completions = msgspec.json.Decoder(Completion)


class Check(msgspec.Struct):
    is_processed: bool


@post(
    paths("complete/{algorithm:str}/requests/{request_id:str}"),
    status_code=202,
    summary="Report how a run ended",
    tags=["receiver"],
    opt=json_body(Completion),
    request_max_body_size=REPORT,
    responses=TEXT_ERRORS(400, 401, 503),
)
async def complete_run(
    context: ContextOf, capability: CapabilityOf, algorithm: Algorithm, request_id: RequestId, body: RawBody
) -> Nothing | Response[Nothing] | Response[str]:
    """Answers 202 once the report is durable, also for a run that has ended: the first report stands.

    A young capability tells what the run's row would, which is not read then (law 9). Where reports have to prove of which run they are, one that does not is answered 401, and kept once for each run.
    """
    fact: RunCompleted | RunFailed | DeadLettered
    try:
        completion = _completion(body)
        run_id = parse_request_id(request_id)
        problem = context.reports.problem(capability, run_id, algorithm, context.clock())
        if problem or not context.reports.knows(capability, context.clock()):
            run = await known_run(context, run_id)
            if problem := problem or context.reports.late(run.ended_at, context.clock()):
                await _unproved(context, run, problem, algorithm, body)
        fact = _fact(context, algorithm, run_id, completion)
    except InvalidInput as error:
        return text(400, f"Submitted result is invalid: {error}")
    except NotFound:
        if problem:
            context.reports.refuse(problem)
        # Upstream answers 202 here too; what was said is kept where a person can find it.
        fact = _unknown(context, algorithm, request_id, body)
    await context.journal.append([fact])
    return Nothing()


@get(
    paths("check/{algorithm:str}/requests/{request_id:str}"),
    summary="Whether a run has ended",
    tags=["receiver"],
    responses=TEXT_ERRORS(401, 404, 503),
)
async def check_run(
    context: ContextOf, capability: CapabilityOf, algorithm: Algorithm, request_id: RequestId
) -> Check | Response[str]:
    try:
        run_id = require_id(request_id)
        if problem := context.reports.problem(capability, run_id, algorithm, context.clock()):
            context.reports.refuse(problem)
        run = await current_end(context, run_id, algorithm)
    except NotFound:
        return text(404, f"checkpoint not found: {algorithm}/{request_id}")
    return Check(run.ended)


async def _unproved(context: ApiContext, run: Run, problem: str, algorithm: str, body: bytes) -> None:
    """Keep what nobody proved, the first time for each run. Raises Unauthenticated where it is not taken."""
    first = context.reports.first(run.id)
    if first:
        _log.warning("report_unproved", run=run.id, algorithm=algorithm, problem=problem)
    try:
        context.reports.refuse(problem)
    except Unauthenticated as error:
        if first:
            letter = dead_letter(run.id, algorithm, context.clock(), "receiver", str(error), body)
            await context.journal.append([letter])
        raise


def _completion(body: bytes) -> Completion:
    """A report must not be lost for half a surrogate pair, as Python writes for a file name that is no UTF-8."""
    try:
        return decoded(_completions, body)
    except InvalidInput:
        return decoded(_completions, mended(body))


def _fact(
    context: ApiContext, algorithm: str, request_id: str, completion: Completion
) -> RunCompleted | RunFailed:
    """Texts are cut rather than refused. Under another algorithm's name it becomes evidence: the fold lets only the run's
    own algorithm end it.
    """
    algorithm = _kept(algorithm, bounds.ALGORITHM)
    details = _kept(completion.error_details, bounds.ERROR_DETAILS)
    if completion.error_cause:
        diagnosis = Diagnosis(
            category=REPORTED,
            cause=_kept(completion.error_cause, bounds.ERROR_CAUSE),
            details=details,
            hint="The algorithm reported this itself: see its own documentation and its log.",
        )
        return RunFailed(request_id=request_id, algorithm=algorithm, at=context.clock(), diagnosis=diagnosis)
    return RunCompleted(
        request_id=request_id,
        algorithm=algorithm,
        at=context.clock(),
        result_uri=_kept(completion.result_uri, bounds.RESULT_URI),
        details=details,
    )


def _kept(text: str | None, most: int) -> str:
    return storable(cut(text or "", most))


def _unknown(context: ApiContext, algorithm: str, request_id: str, body: bytes) -> DeadLettered:
    reason = f"a completion of {len(body)} bytes for a run that was never requested"
    return dead_letter(parse_request_id(request_id), algorithm, context.clock(), "receiver", reason, body)


receiver_routes = [complete_run, check_run]
