"""What a process cannot do now, for `/readyz`: role by role, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from api.app import ROUTES
from api.health import Unable
from nexus.composition.engines import Engines
from nexus.ports import Cluster

__all__ = ["Readiness"]

_TIMEOUT = 3.0
"""Seconds that a check may take."""
_GOOD_FOR = 1.0
"""Seconds that what a check found is answered again, however many ask."""

_LOG = ("api", "receiver", "scheduler", "ledger", "supervisor", "watcher")
_STORE = ("api", "receiver", "scheduler", "ledger", "supervisor")
_CLUSTERS = ("scheduler", "watcher", "supervisor")

Check = Callable[[], Awaitable[str | None]]
"""What is wrong, or None. Raises what the port raises."""


class Readiness:
    """`roles` are those that this process has; `remarks` are lines that are to be seen, and keep nobody from anything."""

    def __init__(
        self, engines: Engines, roles: Collection[str], remarks: Callable[[], Sequence[str]] = tuple
    ) -> None:
        self._engines = engines
        self._roles = roles
        self._remarks = remarks
        self._looking = asyncio.Lock()
        self._found = Unable()
        self._found_at: float | None = None
        self._appended: dict[str, int] = {}

    async def unable(self) -> Unable:
        """Look at each thing that the roles need. One cluster of several that is unreachable keeps nobody from the others."""
        async with self._looking:
            now = self._engines.machine.monotonic()
            if self._found_at is None or now > self._found_at + _GOOD_FOR:
                needed, clusters = await asyncio.gather(self._needed(), self._reachable())
                away = [line for line in clusters if line]
                alone = len(away) == len(clusters)
                wholly, partly = ([*needed, *away], []) if alone else (needed, away)
                remarks = [*self._engines.fleet.problems, *(self._remarks() if self._of(ROUTES) else ())]
                self._found = Unable(wholly, [*partly, *remarks])
                self._found_at = self._engines.machine.monotonic()
            return self._found

    async def _needed(self) -> list[str]:
        checks = []
        if self._of(_LOG):
            checks.append(self._line(_LOG, "append to the log", self._log))
        if "controller" in self._roles:
            checks.append(self._line(["controller"], "reach the cluster of the custom resources", self._home))
        if self._of(_STORE):
            checks.append(self._line(_STORE, "read the projections", self._store))
        if "api" in self._roles:
            checks.append(self._line(["api"], "reach the payload store", self._payloads))
        return [line for line in await asyncio.gather(*checks) if line]

    async def _reachable(self) -> list[str | None]:
        """An entry for each cluster that the roles work on."""
        if not self._of(_CLUSTERS):
            return []
        return await asyncio.gather(
            *(
                self._line(_CLUSTERS, f"reach the cluster {name}", _heard(cluster))
                for name, cluster in (await self._engines.clusters()).items()
            )
        )

    async def _line(self, needed_by: Collection[str], what: str, check: Check) -> str | None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                problem = await check()
        except TimeoutError:
            problem = f"no answer within {_TIMEOUT:.0f} s"
        except Exception as error:  # whatever it is, it keeps the role from that
            problem = str(error) or type(error).__name__
        return problem and f"{', '.join(self._of(needed_by))} cannot {what}: {problem}"

    def _of(self, roles: Collection[str]) -> list[str]:
        return [role for role in self._roles if role in roles]

    async def _log(self) -> str | None:
        """An append that was acknowledged since the last look says it all; else the log is asked."""
        journals = self._engines.journals
        appended = {role: journal.appended for role, journal in journals.items()}
        before, self._appended = self._appended, appended
        if appended == before or any(journal.refused for journal in journals.values()):
            await (await self._engines.log()).check()
        return None

    async def _store(self) -> str | None:
        watermark = await (await self._engines.store()).watermark()
        if watermark is None and self._of(ROUTES):
            return "they have not been read up to the log yet"
        return None

    async def _payloads(self) -> str | None:
        await (await self._engines.payloads()).stored("", 1)
        return None

    async def _home(self) -> str | None:
        home, _ = await self._engines.home()
        await home.identity()
        return None


def _heard(cluster: Cluster) -> Check:
    async def identify() -> str | None:
        await cluster.identity()
        return None

    return identify
