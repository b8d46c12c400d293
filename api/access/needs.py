"""What each operation needs. One that is not here is refused to everybody, and a test holds this to the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from nexus.domain.access import Verb

__all__ = ["NEEDS", "OWN", "Need", "Without"]


class Without(Enum):
    """What is answered without the permission of any rule."""

    PUBLIC = auto()
    """To everybody: health, and the documentation."""
    SIGNED = auto()
    """To who holds an address that Nexus signed."""
    REPORT = auto()
    """To algorithms, whose client sends no token to the receiver."""
    KNOWN = auto()
    """To every subject, about itself."""


Need = Verb | Without

_CONTRACT: Mapping[str, Need] = {
    "POST run/{algorithm}": Verb.SUBMIT,
    "POST cancel/{algorithm}/requests/{request_id}": Verb.CANCEL,
    "POST metadata/tags/{algorithm}/requests/{request_id}": Verb.TAG,
    "GET results/{algorithm}/requests/{request_id}": Verb.READ,
    "GET results/tags/{tag}": Verb.LIST,
    "GET metadata/{algorithm}/requests/{request_id}": Verb.READ,
    "GET buffer/{algorithm}/requests/{request_id}": Verb.READ,
    "GET payload/{algorithm}/requests/{request_id}": Verb.READ,
    "POST complete/{algorithm}/requests/{request_id}": Without.REPORT,
    "GET check/{algorithm}/requests/{request_id}": Without.REPORT,
}

NEEDS: Mapping[str, Need] = {
    **{
        f"{method} {prefix}/{tail}": need
        for operation, need in _CONTRACT.items()
        for method, _, tail in [operation.partition(" ")]
        for prefix in ("/algorithm/v1", "/algorithm")
    },
    "GET /data/v1/payloads/{algorithm}/requests/{request_id}": Without.SIGNED,
    "HEAD /data/v1/payloads/{algorithm}/requests/{request_id}": Without.SIGNED,
    "GET /api/v1/runs": Verb.LIST,
    "GET /api/v1/runs/{request_id}": Verb.READ,
    "GET /api/v1/runs/{request_id}/events": Verb.AUDIT,
    "GET /api/v1/garbage": Verb.OPERATE,
    "GET /api/v1/clusters": Verb.OPERATE,
    "POST /api/v1/clusters/{cluster}/cordon": Verb.OPERATE,
    "POST /api/v1/clusters/{cluster}/uncordon": Verb.OPERATE,
    "GET /api/v1/access": Without.KNOWN,
    "GET /livez": Without.PUBLIC,
    "GET /readyz": Without.PUBLIC,
    "GET /metrics": Without.PUBLIC,
    "GET /openapi.json": Without.PUBLIC,
    "GET /docs": Without.PUBLIC,
    "GET /docs/assets/{name}": Without.PUBLIC,
    "GET /": Without.PUBLIC,
}
"""By method and path. A path with an algorithm is decided for that one, any other for any algorithm: its handler then
decides for the runs that it finds.
"""

OWN = frozenset(
    f"GET {prefix}/{tail}/{{algorithm}}/requests/{{request_id}}"
    for tail in ("results", "payload")
    for prefix in ("/algorithm/v1", "/algorithm")
)
"""What an algorithm may read of its own run, by its capability."""
