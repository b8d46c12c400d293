"""From what a client sent to the `RunRequested` that stands for it: merge, validation, placement deadline."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from nexus.domain.decoding import decoded
from nexus.domain.duration import format_duration, parse_duration
from nexus.domain.errors import InvalidInput
from nexus.domain.events import Parent, RunRequested
from nexus.domain.payload import content_hash, payload_path
from nexus.domain.template import AlgorithmSpec, Template, Workgroup, algorithm_spec, merge
from nexus.domain.texts import check_line
from nexus.domain.validation import check_applied, check_overrides, check_tag

__all__ = ["DEFAULT_PAYLOAD_VALID_FOR", "Submission", "read_overrides", "read_submission", "request_run"]

DEFAULT_PAYLOAD_VALID_FOR = timedelta(hours=24)


class Submission(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of `POST .../run/{algorithm}` (contract §1.1). `null` means unset, as Go clients write it."""

    algorithm_parameters: msgspec.Raw
    custom_configuration: dict[str, Any] | None = None
    request_api_version: str | None = None
    tag: str | None = None
    parent_request: Parent | None = None
    payload_valid_for: str | None = None


_decoder = msgspec.json.Decoder(Submission)


def read_submission(body: bytes) -> Submission:
    """Raises InvalidInput with the decoder's words; `algorithmParameters` keeps the client's bytes."""
    submission = decoded(_decoder, body)
    parameters = bytes(submission.algorithm_parameters)
    if not parameters.startswith(b"{"):
        raise InvalidInput("algorithmParameters", "is not a JSON object")
    try:
        parameters.decode()  # the decoder skips over these bytes and would let broken UTF-8 pass
    except UnicodeDecodeError as error:
        raise InvalidInput("algorithmParameters", f"is not UTF-8 at its byte {error.start}") from None
    if submission.tag:
        check_tag("tag", submission.tag)
    check_line("requestApiVersion", submission.request_api_version or "")
    parent = submission.parent_request
    if parent and not (parent.request_id and parent.algorithm_name):
        raise InvalidInput("parentRequest", "needs both requestId and algorithmName")
    if parent:
        check_line("parentRequest.requestId", parent.request_id)
        check_line("parentRequest.algorithmName", parent.algorithm_name)
    return submission


def read_overrides(submission: Submission) -> AlgorithmSpec | None:
    """The run's `customConfiguration`, every value of it well-formed."""
    if submission.custom_configuration is None:
        return None
    overrides = algorithm_spec(submission.custom_configuration, "customConfiguration")
    check_overrides(overrides)
    return overrides


def request_run(
    submission: Submission,
    overrides: AlgorithmSpec | None,
    template: Template,
    workgroup: Workgroup,
    *,
    request_id: str,
    at: datetime,
    place_within: timedelta,
    dry_run: bool,
    received_by: str,
) -> RunRequested:
    """The event that starts a run, with its payload inline and every reference resolved."""
    spec = merge(template.spec, overrides)
    if overrides is not None:
        check_applied(spec, "customConfiguration")
    payload = bytes(submission.algorithm_parameters)
    return RunRequested(
        request_id=request_id,
        algorithm=template.name,
        at=at,
        cluster=workgroup.spec.cluster,
        workgroup=workgroup.name,
        spec=spec,
        placement=workgroup.spec,
        placement_deadline=at + place_within,
        payload_valid_for=format_duration(_valid_for(submission, spec)),
        content_hash=content_hash(payload),
        payload_size=len(payload),
        payload_uri=payload_path(template.name, request_id),
        payload=submission.algorithm_parameters.copy(),
        overrides=overrides,
        tag=submission.tag or "",
        parent=submission.parent_request,
        api_version=submission.request_api_version or "",
        dry_run=dry_run,
        received_by=received_by,
    )


def _valid_for(submission: Submission, spec: AlgorithmSpec) -> timedelta:
    """The request's own (stratum A) before the template's (stratum B) before the default."""
    if submission.payload_valid_for:
        return parse_duration("payloadValidFor", submission.payload_valid_for)
    if valid_for := spec.payload_configuration.payload_valid_for:
        return parse_duration("payloadConfiguration.payloadValidFor", valid_for)
    return DEFAULT_PAYLOAD_VALID_FOR
