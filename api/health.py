"""`/livez`, `/readyz` and `/metrics`: what every serving process answers, whatever its role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["Health", "Unable", "health_routes"]


class Unable(NamedTuple):
    """What roles cannot do now, a line each: `wholly` keeps a role from its work, `partly` from some of it."""

    wholly: Sequence[str] = ()
    partly: Sequence[str] = ()


async def _able() -> Unable:
    return Unable()


class Health(msgspec.Struct, frozen=True):
    """`problems` keep this process from going on; `unable` is what its roles cannot do now. Empty where nothing is."""

    problems: Callable[[], list[str]]
    unable: Callable[[], Awaitable[Unable]] = _able


HealthOf = NamedDependency[Health]


@get("/livez", summary="Whether this process makes progress", tags=["operations"])
async def livez(health: HealthOf) -> Response[str]:
    return _answer(health.problems())


@get("/readyz", summary="Whether its roles can do what they are for", tags=["operations"])
async def readyz(health: HealthOf) -> Response[str]:
    unable = await health.unable()
    return _answer([*health.problems(), *unable.wholly], unable.partly)


@get("/metrics", summary="Prometheus metrics", tags=["operations"], media_type=MediaType.TEXT)
async def metrics() -> Response[bytes]:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8"))


def _answer(problems: Sequence[str], remarks: Sequence[str] = ()) -> Response[str]:
    return Response(
        "\n".join([*problems, *remarks]) or "ok",
        status_code=503 if problems else 200,
        media_type=MediaType.TEXT,
    )


health_routes: list[Any] = [livez, readyz, metrics]
