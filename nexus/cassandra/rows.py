"""A run as a row of `checkpoints`: upstream's columns (contract §5), and ours that hold the whole of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from nexus.cassandra.driver import UNSET
from nexus.domain.events import Diagnosis, Parent, RunRequested
from nexus.domain.payload import payload_path
from nexus.domain.run import Run, Stage
from nexus.domain.template import WorkgroupSpec, algorithm_spec

__all__ = [
    "CHECKPOINT",
    "REQUEST",
    "STATE",
    "decode_run",
    "request_values",
    "run_of_checkpoint",
    "state_values",
]

REQUEST = (
    "payload_uri",
    "received_by_host",
    "received_at",
    "applied_configuration",
    "configuration_overrides",
    "content_hash",
    "api_version",
    "parent",
    "payload_valid_for",
)
"""Columns that never change."""

_STATE_OF_UPSTREAM = (
    "lifecycle_stage",
    "result_uri",
    "algorithm_failure_cause",
    "algorithm_failure_details",
    "sent_at",
    "last_modified",
    "tag",
    "job_uid",
)
STATE = (*_STATE_OF_UPSTREAM, "position", "state")
"""Columns that each fact may change."""

CHECKPOINT = ("algorithm", "id", *REQUEST, *_STATE_OF_UPSTREAM)
"""What upstream reads and writes."""

_PREFIX = "b64__"
_UPSTREAM = "upstream"
"""Stands for the event that ended a run of upstream, which has none."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Run).decode


def request_values(request: RunRequested) -> tuple[object, ...]:
    """In the order of `REQUEST`. The address of the payload is unsigned: readers sign."""
    return (
        request.payload_uri,
        request.received_by,
        request.at,
        _column(request.spec),
        _column(request.overrides),
        request.content_hash,
        request.api_version,
        _column(request.parent),
        request.payload_valid_for,
    )


def state_values(run: Run) -> tuple[object, ...]:
    """In the order of `STATE`."""
    return (
        run.stage.value,
        run.result_uri,
        run.diagnosis.cause if run.diagnosis else "",
        run.diagnosis.details if run.diagnosis else "",
        run.sent_at or UNSET,
        run.last_modified,
        run.tag,
        run.job_uid,
        run.position,
        _encode(run),
    )


def decode_run(state: bytes) -> Run:
    return _decode(state)


def _column(value: msgspec.Struct | None) -> str:
    return _PREFIX + base64.b64encode(_encode(value) if value else b"{}").decode()


def run_of_checkpoint(row: Mapping[str, Any]) -> Run:
    """A row that upstream wrote, its JSON plain or in base64. What upstream does not keep is empty.

    Raises InvalidInput or `msgspec.ValidationError` for columns that hold something else.
    """
    spec = algorithm_spec(_json(row["applied_configuration"]), "applied_configuration")
    overrides = _json(row["configuration_overrides"])
    parent = _json(row["parent"])
    received, modified = _time(row["received_at"]), _time(row["last_modified"])
    stage = Stage(row["lifecycle_stage"])
    cause, details = row["algorithm_failure_cause"] or "", row["algorithm_failure_details"] or ""
    at = received or modified or datetime.fromtimestamp(0, UTC)
    request = RunRequested(
        request_id=row["id"],
        algorithm=row["algorithm"],
        at=at,
        cluster="",
        workgroup=spec.workgroup_ref.name,
        spec=spec,
        placement=WorkgroupSpec(),
        placement_deadline=at,
        payload_valid_for=row["payload_valid_for"] or spec.payload_configuration.payload_valid_for,
        content_hash=row["content_hash"] or "",
        payload_size=0,
        payload_uri=row["payload_uri"] or payload_path(row["algorithm"], row["id"]),
        overrides=algorithm_spec(overrides, "configuration_overrides") if overrides else None,
        tag=row["tag"] or "",
        parent=msgspec.convert(parent, Parent) if parent and parent.get("requestId") else None,
        api_version=row["api_version"] or "",
        received_by=row["received_by_host"] or "",
    )
    return Run(
        request=request,
        stage=stage,
        last_modified=modified or at,
        tag=request.tag,
        job_uid=row["job_uid"] or "",
        sent_at=_time(row["sent_at"]),
        ended_at=(modified or at) if stage.finished else None,
        ended_by=_UPSTREAM if stage.finished else "",
        result_uri=row["result_uri"] or "",
        diagnosis=Diagnosis(category="", cause=cause, details=details) if cause or details else None,
    )


def _json(text: str | None) -> dict[str, Any]:
    """Upstream writes the prefixed form, or plain JSON; `{}` or nothing where there is nothing to say."""
    if text and text.startswith(_PREFIX):
        text = base64.b64decode(text.removeprefix(_PREFIX)).decode()
    return json.loads(text) or {} if text else {}


def _time(value: datetime | None) -> datetime | None:
    """Rows hold UTC without a zone, and Go's zero time for none."""
    return value.replace(tzinfo=UTC) if value and value.year > 1 else None
