"""The Litestar application: upstream's scheduler and receiver, payloads, our own paths, operations, documentation."""

from __future__ import annotations

from collections.abc import Callable

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig

from api.observability import Observed, health_routes
from api.openapi import openapi_routes
from api.payloads import payload_routes
from api.problems import handle_error, handle_http_error, handle_nexus_error
from api.receiver import receiver_routes
from api.runs import run_routes
from api.scheduler import scheduler_routes
from api.services import Services
from api.submit import create_run
from nexus import __version__
from nexus.domain.errors import NexusError

__all__ = ["create_app", "create_litestar"]


def create_app(services: Services) -> Observed:
    """The ASGI application to serve."""
    return Observed(create_litestar(lambda: services, services.max_body))


def create_litestar(provide: Callable[[], Services], max_body: int) -> Litestar:
    """`max_body` is in bytes; `provide` is called at each request."""
    return Litestar(
        route_handlers=[
            create_run,
            *scheduler_routes,
            *receiver_routes,
            *payload_routes,
            *run_routes,
            *health_routes,
            *openapi_routes(),
        ],
        dependencies={"services": Provide(provide, sync_to_thread=False)},
        exception_handlers={
            HTTPException: handle_http_error,
            NexusError: handle_nexus_error,
            Exception: handle_error,
        },
        request_max_body_size=max_body,
        openapi_config=OpenAPIConfig(title="Nexus", version=__version__, path="/_openapi", render_plugins=[]),
        signature_types=[Services],
        logging_config=None,
    )
