"""Topics, and how an event becomes a record on one: CloudEvents 1.0, binary mode (`ce_*` headers, JSON body)."""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from nexus.domain.errors import InvalidInput, NexusError
from nexus.domain.events import (
    ClusterCordoned,
    ClusterUncordoned,
    DeadLettered,
    Event,
    RunEnded,
    RunObserved,
    RunRequested,
    decode_event,
    encode_event,
    event_id,
)

__all__ = [
    "CLUSTERS",
    "DEAD_LETTERS",
    "OBSERVATIONS",
    "REQUESTS",
    "RESULTS",
    "RUNS",
    "NewRecord",
    "UnknownEvent",
    "read_event",
    "requests_of",
    "to_record",
]

REQUESTS = "nexus.requests."
RUNS = "nexus.runs"
OBSERVATIONS = "nexus.observations"
RESULTS = "nexus.results"
DEAD_LETTERS = "nexus.dead-letters"
CLUSTERS = "nexus.clusters"

_VERSIONS = {cls.__name__: cls.version for cls in get_args(Event)}
_KNOWN = {f"nexus.{name}.v{version}": name for name, version in _VERSIONS.items()}


class UnknownEvent(NexusError):
    """A record of a type or version that this release does not know: upgrade the reader before the writers."""


class NewRecord(msgspec.Struct, frozen=True):
    """A record to append. The key decides the partition, so all records of a run keep their order."""

    topic: str
    key: str
    value: bytes
    headers: dict[str, str]


def requests_of(cluster: str) -> str:
    """The topic of the requests for one cluster."""
    return REQUESTS + cluster


def topic_of(event: Event) -> str:
    match event:
        case RunRequested():
            return requests_of(event.cluster)
        case RunObserved():
            return OBSERVATIONS
        case RunEnded():
            return RESULTS
        case DeadLettered():
            return DEAD_LETTERS
        case ClusterCordoned() | ClusterUncordoned():
            return CLUSTERS
        case _:
            return RUNS


def to_record(event: Event, source: str) -> NewRecord:
    """`source` names the role and host that says it, as CloudEvents asks."""
    body = encode_event(event)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event_id(event, body),
        "ce_source": source,
        "ce_type": f"nexus.{type(event).__name__}.v{event.version}",
        "ce_subject": event.about,
        "ce_time": event.at.isoformat(),
        "content-type": "application/json",
    }
    return NewRecord(topic_of(event), event.about, body, headers)


def read_event(headers: dict[str, str], body: bytes) -> Event:
    """The event in a record. Raises UnknownEvent for what a newer release wrote, InvalidInput for what is damaged."""
    kind = headers.get("ce_type", "")
    name = _KNOWN.get(kind) or _older(kind)
    event = decode_event(body, kind)
    if type(event).__name__ != name:
        raise InvalidInput("ce_type", f"{kind!r} is not what the body says: {type(event).__name__}")
    if "ce_id" not in headers:
        raise InvalidInput("ce_id", "is missing")
    return event


def _older(kind: str) -> str:
    """The name in a `ce_type` that this release does not write."""
    prefix, _, rest = kind.partition(".")
    name, _, version = rest.rpartition(".v")
    if prefix != "nexus" or not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        raise InvalidInput("ce_type", f"{kind[:80]!r} is not the type of a Nexus event")
    if int(version) > _VERSIONS.get(name, 0):
        raise UnknownEvent(
            f"an event of type {kind!r} was written by a newer Nexus: upgrade this process first"
        )
    return name
