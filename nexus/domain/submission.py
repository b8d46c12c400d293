"""From what a client sent to the `RunRequested` that stands for it: merge, validation, placement deadline."""

from __future__ import annotations

from codecs import getincrementaldecoder
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from nexus.domain import bounds
from nexus.domain.access.tenants import REST, Tenant
from nexus.domain.bounds import check_bound
from nexus.domain.decoding import decoded
from nexus.domain.duration import format_duration, parse_duration
from nexus.domain.errors import InvalidInput
from nexus.domain.events import Parent, RunRequested
from nexus.domain.overrides import ignored
from nexus.domain.payload import content_hash, payload_path
from nexus.domain.template import AlgorithmSpec, Template, Workgroup, algorithm_spec, merge
from nexus.domain.texts import check_line
from nexus.domain.validation import check_applied, check_overrides, check_tag

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "DEFAULT_PAYLOAD_VALID_FOR",
    "Submission",
    "ignored_overrides",
    "read_overrides",
    "read_submission",
    "request_run",
]

DEFAULT_PAYLOAD_VALID_FOR = timedelta(hours=24)


_PIECE = 1024 * 1024
"""Bytes that are looked at in one go."""
_MOST_BESIDE = 1024 * 1024
"""Bytes of a body that are not its payload."""


class _Members(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    algorithm_parameters: msgspec.Raw
    request_api_version: str | None = None
    tag: str | None = None
    parent_request: Parent | None = None
    payload_valid_for: str | None = None


class _Payload(msgspec.Struct, rename="camel"):
    algorithm_parameters: msgspec.Raw


class Submission(_Members, frozen=True, kw_only=True, rename="camel"):
    """The body of `POST .../run/{algorithm}` (contract §1.1). `null` means unset, as Go clients write it."""

    custom_configuration: dict[str, Any] | None = None


class _Sent(_Members, frozen=True, kw_only=True, rename="camel"):
    """The same before it is known that the configuration is small enough to be read."""

    custom_configuration: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(_Sent)
_configurations: msgspec.json.Decoder[dict[str, Any] | None] = msgspec.json.Decoder(dict[str, Any] | None)
_payload_decoder = msgspec.json.Decoder(_Payload)


def read_submission(body: Buffer) -> Submission:
    """Raises InvalidInput with the decoder's words; `algorithmParameters` keeps the client's bytes."""
    _check_beside(body)
    sent = decoded(_decoder, body)
    submission = Submission(**msgspec.structs.asdict(sent) | {"custom_configuration": _configuration(sent)})
    parameters = memoryview(submission.algorithm_parameters)
    if bytes(parameters[:1]) != b"{":
        raise InvalidInput("algorithmParameters", "is not a JSON object")
    _check_utf8(parameters)  # the decoder skips over these bytes and would let broken UTF-8 pass
    if submission.tag:
        check_tag("tag", submission.tag)
    _check_name("requestApiVersion", submission.request_api_version or "", bounds.API_VERSION)
    _check_name("payloadValidFor", submission.payload_valid_for or "", bounds.DURATION)
    parent = submission.parent_request
    if parent and not (parent.request_id and parent.algorithm_name):
        raise InvalidInput("parentRequest", "needs both requestId and algorithmName")
    if parent:
        _check_name("parentRequest.requestId", parent.request_id, bounds.REQUEST_ID)
        _check_name("parentRequest.algorithmName", parent.algorithm_name, bounds.ALGORITHM)
    return submission


def _check_beside(body: Buffer) -> None:
    """All but the payload is made into objects, which take many times as much: that is only done with a little."""
    size = len(memoryview(body))
    if size <= _MOST_BESIDE:
        return
    beside = size - len(memoryview(decoded(_payload_decoder, body).algorithm_parameters))
    if beside > _MOST_BESIDE:
        raise InvalidInput("", f"has {beside} bytes beside algorithmParameters, and may have {_MOST_BESIDE}")


def _check_utf8(text: memoryview) -> None:
    """Piece by piece, because what is decoded takes as much memory again."""
    decoder = getincrementaldecoder("utf-8")()
    for start in range(0, len(text), _PIECE):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(bytes(text[start : start + _PIECE]), final=start + _PIECE >= len(text))
        except UnicodeDecodeError as error:
            at = start - pending + error.start
            raise InvalidInput("algorithmParameters", f"is not UTF-8 at its byte {at}") from None


def read_overrides(submission: Submission) -> AlgorithmSpec | None:
    """The run's `customConfiguration`, every value of it well-formed."""
    if submission.custom_configuration is None:
        return None
    overrides = algorithm_spec(submission.custom_configuration, "customConfiguration")
    check_overrides(overrides)
    return overrides


def ignored_overrides(submission: Submission) -> list[str]:
    """A sentence for each member of `customConfiguration` that has no effect."""
    return ignored(submission.custom_configuration or {})


def _configuration(sent: _Sent) -> dict[str, Any] | None:
    size = len(memoryview(sent.custom_configuration))
    if size > bounds.CONFIGURATION:
        raise InvalidInput(
            "customConfiguration",
            f"has {size} bytes, at most {bounds.CONFIGURATION} are allowed; data belongs into algorithmParameters",
        )
    return decoded(_configurations, sent.custom_configuration, "$.customConfiguration")


def _check_name(field: str, text: str, most: int) -> None:
    check_bound(field, text, most)
    check_line(field, text)


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
    subject: str = "",
    tenant: Tenant = REST,
) -> RunRequested:
    """The event that starts a run, with every reference resolved. Its payload is a part of the body that was sent."""
    spec = merge(template.spec, overrides)
    if overrides is not None:
        check_applied(spec, "customConfiguration")
    payload = memoryview(submission.algorithm_parameters)
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
        payload=submission.algorithm_parameters,
        overrides=overrides,
        tag=submission.tag or "",
        parent=submission.parent_request,
        api_version=submission.request_api_version or "",
        dry_run=dry_run,
        received_by=received_by,
        subject=subject,
        tenant=tenant.name,
        weight=tenant.weight,
    )


def _valid_for(submission: Submission, spec: AlgorithmSpec) -> timedelta:
    """The request's own (stratum A) before the template's (stratum B) before the default."""
    if submission.payload_valid_for:
        return parse_duration("payloadValidFor", submission.payload_valid_for)
    if valid_for := spec.payload_configuration.payload_valid_for:
        return parse_duration("payloadConfiguration.payloadValidFor", valid_for)
    return DEFAULT_PAYLOAD_VALID_FOR
