"""The configuration: one typed tree, checked before anything starts."""

from nexus.config.kinds import NEVER, Secret, SigningKey, Size, Span, SpanOrNever
from nexus.config.loading import load, renamed, shown
from nexus.config.sections import (
    S3,
    Auth,
    Cassandra,
    Config,
    Garbage,
    Grace,
    Http,
    Kafka,
    Log,
    Logging,
    Payload,
    Placement,
    Supervision,
    Throttle,
)

__all__ = [
    "NEVER",
    "S3",
    "Auth",
    "Cassandra",
    "Config",
    "Garbage",
    "Grace",
    "Http",
    "Kafka",
    "Log",
    "Logging",
    "Payload",
    "Placement",
    "Secret",
    "SigningKey",
    "Size",
    "Span",
    "SpanOrNever",
    "Supervision",
    "Throttle",
    "load",
    "renamed",
    "shown",
]
