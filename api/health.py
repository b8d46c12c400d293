"""`/livez`, `/readyz` and `/metrics`: what every serving process answers, whatever its role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["Health", "health_routes"]


class Health(msgspec.Struct, frozen=True):
    """`problems` keep this process from going on, an empty list where nothing does. `watermark` is that of the
    projections, for a process that reads them.
    """

    problems: Callable[[], list[str]]
    watermark: Callable[[], Awaitable[datetime | None]] | None = None


HealthOf = NamedDependency[Health]


@get("/livez", summary="Whether this process makes progress", tags=["operations"])
async def livez(health: HealthOf) -> Response[str]:
    return _answer(health.problems())


@get("/readyz", summary="Whether requests can be served", tags=["operations"])
async def readyz(health: HealthOf) -> Response[str]:
    problems = health.problems()
    if health.watermark is not None and await health.watermark() is None:
        problems = [*problems, "the projections have not been read up to the log yet"]
    return _answer(problems)


@get("/metrics", summary="Prometheus metrics", tags=["operations"], media_type=MediaType.TEXT)
async def metrics() -> Response[bytes]:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8"))


def _answer(problems: list[str]) -> Response[str]:
    return Response(
        "\n".join(problems) or "ok", status_code=503 if problems else 200, media_type=MediaType.TEXT
    )


health_routes: list[Any] = [livez, readyz, metrics]
