"""RFC 9457 problem details, as the document tells of them."""

from __future__ import annotations

import msgspec
from litestar.openapi.datastructures import ResponseSpec

__all__ = ["Problem", "problems"]


class Problem(msgspec.Struct):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The statuses with which an operation of ours refuses."""
    return {
        status: ResponseSpec(Problem, media_type="application/problem+json", generate_examples=False)
        for status in statuses
    }
