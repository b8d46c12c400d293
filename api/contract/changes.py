"""What upstream's clients may change of a run: cancel it (§1.1), and give it another tag (§1.3)."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import MediaType, Response, post
from litestar.params import RawBody

from api.access.caller import CallerOf
from api.contract.plain import SMALL_BODY, Nothing, paths, require_id, text
from api.fresh_rows import known_run
from api.openapi import TEXT_ERRORS, json_body
from api.parameters import Algorithm, ContextOf, RequestId
from nexus.domain import bounds
from nexus.domain.bounds import check_bound
from nexus.domain.decoding import decoded
from nexus.domain.errors import InvalidInput, NotFound
from nexus.domain.events import DeletionPolicy, RunCancelled, RunTagged
from nexus.domain.texts import check_text
from nexus.domain.validation import check_tag

__all__ = ["change_routes"]


class Cancellation(msgspec.Struct, rename="camel"):
    """`null` means unset, as Go clients write it."""

    reason: str | None = None
    initiator: str | None = None
    cancellation_policy: str | None = None


class TagUpdate(msgspec.Struct, rename="camel"):
    new_tag: str


_cancellations = msgspec.json.Decoder(Cancellation)
_tag_updates = msgspec.json.Decoder(TagUpdate)


@post(
    paths("cancel/{algorithm:str}/requests/{request_id:str}"),
    status_code=200,
    summary="Cancel a run",
    tags=["runs"],
    opt=json_body(Cancellation),
    request_max_body_size=SMALL_BODY,
    responses=TEXT_ERRORS(400, 404, 503),
    media_type=MediaType.TEXT,
)
async def cancel_run(
    context: ContextOf, caller: CallerOf, algorithm: Algorithm, request_id: RequestId, body: RawBody
) -> Response[str]:
    """Ends a run in any unfinished stage. A run that has ended stays as it is; that it was asked for is recorded."""
    try:
        cancellation = decoded(_cancellations, body)
        reason, initiator = cancellation.reason or "", cancellation.initiator or ""
        for field, said, most in (
            ("reason", reason, bounds.REASON),
            ("initiator", initiator, bounds.INITIATOR),
        ):
            check_bound(field, said, most)
            check_text(field, said)
    except InvalidInput as error:
        return text(400, f"Cancellation payload is invalid: {error}")
    policy = cancellation.cancellation_policy or DeletionPolicy.BACKGROUND
    if policy not in set(DeletionPolicy):
        return text(
            400,
            f"Invalid cancellation request: invalid CancellationPolicy: '{policy[:80]}', "
            "accepted values: Orphan, Foreground or Background",
        )
    try:
        run = await known_run(context, require_id(request_id), algorithm)
    except NotFound:
        return text(404, f"Provided request with identifier '{request_id}' not found")
    cancelled = RunCancelled(
        request_id=run.id,
        algorithm=algorithm,
        at=context.clock(),
        reason=reason,
        initiator=initiator,
        policy=DeletionPolicy(policy),
        subject=caller.name,
    )
    await context.journal.append([cancelled])
    return text(200)


@post(
    paths("metadata/tags/{algorithm:str}/requests/{request_id:str}"),
    status_code=200,
    summary="Change the tag of a run",
    tags=["runs"],
    opt=json_body(TagUpdate),
    request_max_body_size=SMALL_BODY,
    responses=TEXT_ERRORS(400, 404, 503),
)
async def update_tag(
    context: ContextOf, caller: CallerOf, algorithm: Algorithm, request_id: RequestId, body: RawBody
) -> Nothing | Response[str]:
    try:
        update = decoded(_tag_updates, body)
        check_tag("newTag", update.new_tag)
    except InvalidInput as error:
        return text(400, f"Invalid tag update request: {error}")
    try:
        run = await known_run(context, require_id(request_id), algorithm)
    except NotFound:
        return text(404, f"Checkpoint {request_id}/{algorithm} not found")
    tagged = RunTagged(
        request_id=run.id,
        algorithm=algorithm,
        at=context.clock(),
        tag=update.new_tag,
        subject=caller.name,
    )
    await context.journal.append([tagged])
    return Nothing()


change_routes: list[Any] = [cancel_run, update_tag]
