"""The Litestar application: upstream's scheduler and receiver, payloads, our own paths, operations, documentation."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig

from api.access.caller import Caller, provided_caller
from api.access.entrance import Access
from api.access.guard import Guard
from api.access.limits import Limits
from api.bodies.intake import BodyLimits, Intake
from api.context import ApiContext
from api.contract.changes import change_routes
from api.contract.payloads import payload_routes
from api.contract.receiver import receiver_routes
from api.contract.results import result_routes
from api.contract.submit import create_run
from api.health import Health, health_routes
from api.observability import Observed
from api.openapi import openapi_routes
from api.origins import Origins
from api.own.access import access_routes
from api.own.clusters import cluster_routes
from api.own.runs import run_routes
from api.parameters import provided_capability
from api.paths import as_sent, decoded_parameters
from api.problems import handle_error, handle_http_error, handle_nexus_error
from nexus import __version__
from nexus.domain.errors import NexusError

__all__ = ["ROUTES", "create_app", "create_litestar"]

_USUAL = BodyLimits()
_ANY = Origins()
_EVERYBODY = Access()

ROUTES: dict[str, list[Any]] = {
    "api": [
        create_run,
        *result_routes,
        *change_routes,
        *payload_routes,
        *run_routes,
        *cluster_routes,
        *access_routes,
    ],
    "receiver": receiver_routes,
}
"""The paths of each role that has some of its own."""


def create_app(roles: Collection[str], context: ApiContext | None, health: Health) -> Observed:
    """The ASGI application to serve. A process without a role of `ROUTES` answers for its health alone."""
    if context is None:
        return Observed(create_litestar([], ApiContext, lambda: health, max_body=0))
    app = create_litestar(
        roles,
        lambda: context,
        lambda: health,
        context.max_body,
        context.bodies,
        context.origins,
        context.access,
    )
    return Observed(as_sent(app))


def create_litestar(
    roles: Collection[str],
    provide_services: Callable[..., ApiContext],
    provide_health: Callable[..., Health],
    max_body: int,
    bodies: BodyLimits = _USUAL,
    origins: Origins = _ANY,
    access: Access = _EVERYBODY,
) -> Litestar:
    """`max_body` is in bytes; the context and the health are provided at each request."""
    served = [route for role, routes in ROUTES.items() if role in roles for route in routes]
    return Litestar(
        route_handlers=[*served, *health_routes, *(openapi_routes() if served else [])],
        dependencies={
            "context": Provide(provide_services, sync_to_thread=False),
            "health": Provide(provide_health, sync_to_thread=False),
            "caller": provided_caller,
            "capability": provided_capability,
        },
        exception_handlers={
            HTTPException: handle_http_error,
            NexusError: handle_nexus_error,
            Exception: handle_error,
        },
        request_max_body_size=max_body,
        middleware=[
            origins.around,
            decoded_parameters,
            Guard(access).around,
            Limits().around,
            Intake(bodies).around,
        ],
        cors_config=CORSConfig(allow_origins=sorted(origins.allowed)) if origins.allowed else None,
        openapi_config=OpenAPIConfig(title="Nexus", version=__version__, path="/_openapi", render_plugins=[]),
        signature_types=[ApiContext, Caller, Health],
        logging_config=None,
    )
