"""The configuration: one typed tree, checked before anything starts."""

from nexus.config.kinds import NEVER, Secret, Size, Span, SpanOrNever
from nexus.config.loading import load, renamed, shown
from nexus.config.sections import (
    S3,
    Cassandra,
    Config,
    Grace,
    Http,
    Kafka,
    Logging,
)

__all__ = [
    "NEVER",
    "S3",
    "Cassandra",
    "Config",
    "Grace",
    "Http",
    "Kafka",
    "Logging",
    "Secret",
    "Size",
    "Span",
    "SpanOrNever",
    "load",
    "renamed",
    "shown",
]
