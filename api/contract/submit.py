"""`POST .../run/{algorithm}`: nothing is answered 202 before the payload and the event are durable (law 1)."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from litestar import Response, post
from litestar.params import HeaderParameter, QueryParameter
from msgspec.structs import replace

from api.access.caller import Caller, CallerOf
from api.bodies.spool import Spooled, SpooledBody, spooled_body
from api.context import ApiContext
from api.contract.disown import disown
from api.contract.plain import paths, text
from api.followed import must_be_followed
from api.fresh_rows import known_run
from api.openapi import TEXT_ERRORS, json_body
from api.parameters import Algorithm, ContextOf
from nexus.domain import bounds
from nexus.domain.access import Verb, asked, fixed
from nexus.domain.errors import Conflict, InvalidInput, NotFound, OutcomeUnknown
from nexus.domain.events import NO_PAYLOAD, Parent, RunRequested, decode_event, encode_event
from nexus.domain.ids import fingerprint
from nexus.domain.payload import payload_key
from nexus.domain.submission import (
    Submission,
    ignored_overrides,
    read_overrides,
    read_submission,
    request_run,
)
from nexus.domain.template import AlgorithmSpec, Template, Workgroup
from nexus.domain.verdict import digest
from nexus.ports import Claim
from nexus.views import Accepted

__all__ = ["create_run"]

_SHOWN = 5
"""Files that an answer names."""


class _Rejected(Exception):
    """The sentence that the contract has for this."""


@post(
    paths("run/{algorithm:str}"),
    status_code=202,
    summary="Submit a run",
    tags=["runs"],
    opt=json_body(Submission),
    dependencies=spooled_body,
    responses=TEXT_ERRORS(400, 503),
)
async def create_run(
    context: ContextOf,
    caller: CallerOf,
    algorithm: Algorithm,
    spooled: SpooledBody,
    dry_run: Annotated[
        str | None,
        QueryParameter(name="dryRun", description="`true` or `false`; true: go through all but the Job"),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        HeaderParameter(
            name="Idempotency-Key", description="Makes a retry safe: the same key and body are one run"
        ),
    ] = None,
) -> Response[Accepted] | Response[str]:
    """Accepts a run and answers its id once the request is durable."""
    try:
        submission = await spooled.work(partial(read_submission, spooled.content))
        overrides = read_overrides(submission)
        if caller.capability and context.access.algorithms:
            caller = await context.access.algorithms.submitter(caller.capability, submission.parent_request)
        caller.require(Verb.SUBMIT, algorithm, asked(overrides))
        template, workgroup = _configuration(context, algorithm, overrides)
        await _check_parent(context, caller, submission.parent_request)
        resolve = partial(
            request_run,
            submission,
            overrides,
            template,
            workgroup,
            request_id=context.new_id(),
            at=context.clock(),
            place_within=context.place_within,
            dry_run=_flag("dryRun", dry_run),
            received_by=context.host,
            subject=caller.name,
            tenant=caller.tenant,
        )
        request = await spooled.work(resolve)
        _check_verdict(context, request)
        await must_be_followed(context, request.cluster)
        await context.queues.admit(caller.tenant)
        request = await _store_payload(context, request, spooled)
        if idempotency_key is not None:
            said = await spooled.work(partial(fingerprint, spooled.content, str(request.dry_run)))
            request = await _claim(context, request, idempotency_key, said)
        await _append(context, request, claimed=idempotency_key is not None)
    except (InvalidInput, Conflict) as error:
        return text(400, f"Algorithm payload is invalid: {error}")
    except _Rejected as error:
        return text(400, str(error))
    return Response(Accepted(request.request_id, ignored_overrides(submission)), status_code=202)


def _flag(field: str, text: str | None) -> bool:
    """`true` or `false` in any case, as the printers of many languages write it; nothing is false."""
    match text.lower() if text is not None else "false":
        case "true":
            return True
        case "false":
            return False
        case _:
            raise InvalidInput(field, f"{(text or '')[:80]!r} is neither true nor false")


def _configuration(
    context: ApiContext, algorithm: str, overrides: AlgorithmSpec | None
) -> tuple[Template, Workgroup]:
    no_template = _no_template(algorithm)
    try:
        template = context.templates.template(algorithm)
    except InvalidInput as error:
        raise _Rejected(f"{no_template} Its template is broken: {error}") from None
    if template is None:
        raise _Rejected(no_template + _unreadable(context))
    _check_fixed(template, overrides)
    name = (overrides.workgroup_ref.name if overrides else "") or template.spec.workgroup_ref.name
    no_workgroup = f"Cannot assign requested workgroup {name} to the algorithm {algorithm}. Please check the deployed configuration."
    try:
        workgroup = context.templates.workgroup(name)
    except InvalidInput as error:
        raise _Rejected(f"{no_workgroup} The workgroup is broken: {error}") from None
    if workgroup is None:
        raise _Rejected(no_workgroup + _unreadable(context))
    if workgroup.spec.cluster not in context.clusters:
        raise _Rejected(f"{no_workgroup} Its cluster {workgroup.spec.cluster!r} is not configured.")
    return template, workgroup


def _check_fixed(template: Template, overrides: AlgorithmSpec | None) -> None:
    """What a template keeps to itself is no matter of who asks."""
    chosen = asked(overrides)
    if kept := chosen and chosen & fixed(template.spec):
        raise InvalidInput(
            "customConfiguration",
            f"the template {template.name} lets nobody choose: {', '.join(sorted(kept))}. Leave it out",
        )


def _check_verdict(context: ApiContext, request: RunRequested) -> None:
    """What the cluster refuses for certain, as far as it was asked in advance: as deployed, and with no overrides."""
    key = digest(request.algorithm, request.spec, request.placement)
    if refusal := context.verdicts.refusal(request.cluster, key):
        raise _Rejected(
            f"{_no_template(request.algorithm)} {request.cluster} refuses every Job of it as it is deployed "
            f"(template {request.algorithm}, workgroup {request.workgroup}): {refusal}"
        )


def _no_template(algorithm: str) -> str:
    return (
        f"No valid configuration found for: {algorithm}. Please check that algorithm name is spelled correctly and try "
        "again. Contact an algorithm author if this problem persists."
    )


def _unreadable(context: ApiContext) -> str:
    """Where a name that is not known may be."""
    broken = context.templates.unreadable()
    if not broken:
        return ""
    shown = "; ".join(str(problem) for problem in broken[:_SHOWN])
    more = f"; and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    return f" It may be in what cannot be read: {shown}{more}."


async def _check_parent(context: ApiContext, caller: Caller, parent: Parent | None) -> None:
    """The parent must be known and unfinished: nobody could end the child with it otherwise.

    Of a run that the caller may not read it is not told that it exists.
    """
    if parent is None:
        return
    try:
        run = await known_run(context, parent.request_id)
    except NotFound:
        run = None
    if run is None or not caller.may(Verb.READ, run.request.algorithm):
        raise InvalidInput("parentRequest.requestId", f"there is no run {parent.request_id}")
    if run.request.algorithm != parent.algorithm_name:
        raise InvalidInput(
            "parentRequest.algorithmName", f"the run {run.id} is one of {run.request.algorithm}"
        )
    if run.ended:
        raise InvalidInput("parentRequest.requestId", f"the run {run.id} has ended ({run.stage})")


async def _append(context: ApiContext, request: RunRequested, *, claimed: bool) -> None:
    try:
        await context.journal.append([request])
    except OutcomeUnknown:
        if not claimed:  # a claimed request keeps its id when it is sent again
            context.spawn(disown(context, request))
        raise


async def _store_payload(context: ApiContext, request: RunRequested, spooled: Spooled) -> RunRequested:
    """A payload too large for the log goes to the store first: an event must never point at nothing."""
    if request.payload_size <= context.inline_limit:
        return replace(request, payload=request.payload.copy())  # which may outlive the body
    key = payload_key(request.algorithm, request.request_id)
    address = await spooled.put(memoryview(request.payload), context.payloads, key)
    return replace(request, payload=NO_PAYLOAD, payload_uri=address)


async def _claim(context: ApiContext, request: RunRequested, key: str, said: str) -> RunRequested:
    """The request that this key stands for: this one, or the one that came first."""
    if not 1 <= len(key) <= bounds.IDEMPOTENCY_KEY or not key.isprintable():
        raise InvalidInput("Idempotency-Key", f"must have 1 to {bounds.IDEMPOTENCY_KEY} printable characters")
    standing = await context.claims.claim(request.algorithm, key, Claim(said, encode_event(request)))
    first = decode_event(standing.request)
    assert isinstance(first, RunRequested)
    if first.request_id != request.request_id and request.payload_size > context.inline_limit:
        await context.payloads.delete(payload_key(request.algorithm, request.request_id))
    if standing.body_hash != said:
        raise Conflict(
            f"Idempotency-Key: {key!r} was used for the run {first.request_id} with another body; use a new key for a new run"
        )
    return first
