"""A process that serves: its roles on their engines, with HTTP beside them, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from functools import partial

from api.app import ROUTES, create_app
from api.context import ApiContext
from api.health import Health
from nexus.composition import heap
from nexus.composition.access import check_mode
from nexus.composition.certificates import Certificates
from nexus.composition.engines import Engines
from nexus.composition.listening import check_address, connections, listening
from nexus.composition.readiness import Readiness
from nexus.composition.roles import INSTALLED, STREAMS, Role, api_context
from nexus.composition.tasks import tasks
from nexus.config import Config
from nexus.embedded.state import StateFolder

__all__ = ["ROLES", "serve"]

ROLES = (*ROUTES, *STREAMS)
"""Those of every installation."""


async def serve(
    config: Config,
    state: StateFolder | None,
    roles: Collection[str],
    announce: Callable[[str, ApiContext | None], None],
) -> None:
    """Run until SIGINT or SIGTERM. Raises ConfigError where the folder, the port or the engines cannot be used.

    `announce` is called once HTTP is served, with the address and what its paths work with.
    """
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _settle, finished, None)
    check_mode(config)
    check_address(config.http)
    certificates = Certificates.of(config.http)
    held = connections(config.http)
    async with AsyncExitStack() as engines_opened:
        if state is not None:
            engines_opened.enter_context(state.owned())
        engines = Engines(config, state, engines_opened)
        async with tasks(partial(_settle, finished)) as spawn:
            role = Role(engines, spawn)
            spawn(engines.fleet.follow())
            for name, start in (STREAMS | INSTALLED).items():
                if name in roles:
                    await start(role)
            asked = await api_context(role) if set(ROUTES) & set(roles) else None
            gate = role.gate

            def remarks() -> list[str]:
                broken = certificates and certificates.problem
                return [
                    *gate.remarks(),
                    *([f"the former certificate is in force: {broken}"] if broken else []),
                ]

            health = Health(role.problems, Readiness(engines, roles, remarks).unable)
            app = create_app(roles, asked, health)
            probes = create_app([], None, health) if config.http.probe_port else None
            # New requests stop first; what was accepted is durable, and goes on at the next start.
            async with listening(app, probes, config.http, held, certificates):
                heap.settle()
                announce(engines.url, asked)
                await finished


def _settle(finished: asyncio.Future[None], error: BaseException | None) -> None:
    """The first word stands: a signal, or an error."""
    if finished.done():
        return
    if error is None:
        finished.set_result(None)
    else:
        finished.set_exception(error)
