"""Algorithms that ask for themselves: by the capability of their Job they read their own run, and submit its children."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache

import structlog

from api.access.caller import Caller
from nexus.domain import bounds
from nexus.domain.access import NOTHING, Capabilities, Rule, Rules, Subject, Tenant, Verb, algorithm_of
from nexus.domain.bounds import cut
from nexus.domain.errors import Forbidden, InvalidInput, Unauthenticated
from nexus.domain.events import DeadLettered, Parent
from nexus.domain.ids import parse_request_id
from nexus.domain.run import Run
from nexus.domain.texts import storable
from nexus.journal import Journal

__all__ = ["Algorithms", "dead_letter"]

_log = structlog.get_logger(__name__)
_REMEMBERED = 256
"""Rules of algorithms that are kept: those of before a change are forgotten with time."""
_NOTHING_ELSE = (
    "an algorithm may read the result and the payload of its own run, submit children of it, and nothing else"
)


class Algorithms:
    """Those of this installation. `get` reads the row of a run. What is refused is kept, where `first` says that it is the
    first for its run.
    """

    def __init__(
        self,
        capabilities: Capabilities,
        first: Callable[[str], bool],
        get: Callable[[str], Awaitable[Run | None]],
        journal: Journal,
        clock: Callable[[], datetime],
        rules: Callable[[], Rules],
    ) -> None:
        self._capabilities = capabilities
        self._first = first
        self._get = get
        self._journal = journal
        self._clock = clock
        self._rules = rules

    async def reader(self, capability: str, request_id: str, algorithm: str) -> Caller:
        """The caller who reads its own run. Raises Unauthenticated where the capability is not that of this run."""
        return _caller(await self._own(capability, request_id, algorithm), _with_own(algorithm, NOTHING))

    async def submitter(self, capability: str, parent: Parent | None) -> Caller:
        """Who submits a child of its own run: in the name of who submitted the parent.

        One of the same algorithm, as its template is, needs no rule: it was allowed when the parent was. Any other needs one
        that lets the parent's submitter or `algorithm:<the parent's>` submit it. Raises Forbidden without a parent,
        Unauthenticated where the parent is another run.
        """
        if parent is None:
            raise Forbidden(f"{_NOTHING_ELSE}: parentRequest names no run")
        run = await self._own(capability, parent.request_id, parent.algorithm_name)
        return _caller(run, _with_own(parent.algorithm_name, self._rules()))

    async def refuse(self, request_id: str, algorithm: str) -> None:
        """Keep what an algorithm tried. Raises Forbidden."""
        with suppress(InvalidInput):
            if run := await self._get(parse_request_id(request_id)):
                await self._keep(run, algorithm, _NOTHING_ELSE)
        raise Forbidden(_NOTHING_ELSE)

    async def _own(self, capability: str, request_id: str, algorithm: str) -> Run:
        try:
            request_id = parse_request_id(request_id)
        except InvalidInput:
            raise Unauthenticated("the capability is not that of this run") from None
        problem = self._capabilities.problem(capability, request_id, algorithm, self._clock())
        run = await self._get(request_id)
        if run is None:
            raise Unauthenticated("there is no such run")
        if problem := problem or self._capabilities.ended(run.ended_at, self._clock()):
            await self._keep(run, algorithm, problem)
            raise Unauthenticated(f"an algorithm may ask about its own run alone: {problem}")
        return run

    async def _keep(self, run: Run, algorithm: str, problem: str) -> None:
        """Once for each run. `algorithm` is what was said, which need not be the run's."""
        if not self._first(run.id):
            return
        _log.warning("capability_refused", run=run.id, algorithm=algorithm, problem=problem)
        await self._journal.append([dead_letter(run.id, algorithm, self._clock(), "api", problem)])


@lru_cache(_REMEMBERED)
def _with_own(algorithm: str, rules: Rules) -> Rules:
    """These rules, and before them what an algorithm may do with its own."""
    own = Rule(
        name="an algorithm may submit children of its own",
        subjects=(algorithm_of(algorithm),),
        verbs=(Verb.SUBMIT, Verb.READ),
        algorithms=(algorithm,),
    )
    return Rules([own, *rules.rules])


def dead_letter(
    request_id: str, algorithm: str, at: datetime, topic: str, reason: str, record: bytes = b""
) -> DeadLettered:
    """What is kept of what was said of a run by somebody who proves nothing, or of a run that there is not."""
    return DeadLettered(
        request_id=request_id,
        algorithm=storable(cut(algorithm, bounds.ALGORITHM)),
        at=at,
        topic=topic,
        partition=-1,
        offset=-1,
        reason=reason,
        record=record[: bounds.DEAD_LETTER],
    )


def _caller(run: Run, rules: Rules) -> Caller:
    """Its children are of its tenant."""
    request = run.request
    tenant = Tenant(name=request.tenant, subjects=(), weight=request.weight)
    return Caller(Subject(request.subject, (algorithm_of(request.algorithm),)), rules, tenant)
