"""Judges the Jobs of what is deployed for a cluster by a dry run: the rules are the API server's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import structlog

from nexus.backoff import retry
from nexus.domain.errors import InvalidInput, Refused, Unavailable
from nexus.domain.job import Materializer
from nexus.domain.verdict import ASKED_AGAIN, Verdict, digest, is_certain, sample
from nexus.ports import Cluster, Templates
from streams.context import Context

__all__ = ["Judge"]

_log = structlog.get_logger(__name__)

_LOOK_AGAIN = 2.0
"""Seconds between two looks at what is deployed."""
_PAYLOAD = "http://payload.invalid/"
"""Stands for the signed address that each run gets of its own."""


class Judge:
    """Each version of a template with its workgroup is asked about once, one that is refused again and again.

    All are asked about anew when the cluster has another version, or was unreachable: it may be another server.
    """

    def __init__(
        self, context: Context, cluster: Cluster, templates: Templates, materializer: Materializer
    ) -> None:
        self._context = context
        self._cluster = cluster
        self._templates = templates
        self._materializer = materializer
        self._version = ""
        self._next: dict[str, datetime | None] = {}
        """When each digest is to be asked about again; None for what is settled."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await retry(self.look, "verdicts_wait", cluster=self._cluster.name)
            await asyncio.sleep(_LOOK_AGAIN)

    async def look(self) -> None:
        """Ask about everything that is due. Raises Unavailable."""
        try:
            version = await self._cluster.version()
            if version != self._version:
                self._version, self._next = version, {}
            deployed = dict(self._deployed())
            self._next = {key: due for key, due in self._next.items() if key in deployed}
            for key, job in deployed.items():
                due = self._next.get(key, self._context.clock())
                if due is not None and due <= self._context.clock():
                    await self._ask(key, job)
        except Unavailable:
            self._next = {}
            raise

    def _deployed(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The Job of each algorithm that runs on this cluster. What is broken is refused without a verdict."""
        for name in self._templates.names():
            try:
                template = self._templates.template(name)
                if template is None:
                    continue
                workgroup = self._templates.workgroup(template.spec.workgroup_ref.name)
                if workgroup is None or workgroup.spec.cluster != self._cluster.name:
                    continue
                request = sample(template, workgroup, self._context.clock())
                job = self._materializer.job(request, _PAYLOAD)
            except InvalidInput:
                continue
            yield digest(name, template.spec, workgroup.spec), job

    async def _ask(self, key: str, job: dict[str, Any]) -> None:
        refusal, settled = "", True
        try:
            await self._cluster.judge(job)
        except Refused as error:
            settled = False
            if not is_certain(error):
                _log.info("no_verdict", cluster=self._cluster.name, problem=str(error))
                self._next[key] = self._context.clock() + ASKED_AGAIN
                return
            refusal = str(error)
        now = self._context.clock()
        await self._context.store.judged([Verdict(self._cluster.name, key, now, refusal)])
        self._next[key] = None if settled else now + ASKED_AGAIN
