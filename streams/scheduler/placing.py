"""Creates the Job of a run on one cluster, or finds that none is to be created."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import partial

import msgspec

from nexus.backoff import retry
from nexus.domain.errors import InvalidInput, Refused, Unavailable
from nexus.domain.events import JobCreated, RunRequested, RunSchedulingFailed
from nexus.domain.job import Materializer, is_ours
from nexus.domain.observed import JobView
from nexus.domain.placement import Append, Create, Drop, Wait, is_for_good, place, refused
from nexus.domain.run import Run
from nexus.domain.throttle import TokenBucket
from nexus.ports import Cluster, PayloadUrls
from streams.context import Context

__all__ = ["Pace", "Placed", "Placer"]

_STALE = 0.5
"""Seconds after which a row is read again before its Job is created: a short run may have ended meanwhile."""


class Placed(Enum):
    """What became of a run."""

    CREATED = "its Job exists, and JobCreated is appended"
    NONE = "no Job comes of it: there was one already, or it has ended"
    NOT_YET = "its row is not there: the ledger is behind the requests topic; or the cluster is held"


class Pace(msgspec.Struct, frozen=True):
    """How fast Jobs are created on one cluster, and how many creates may be unanswered."""

    bucket: TokenBucket
    in_flight: int


class Placer:
    """Calls may overlap, also for the same run: the name of a Job makes a second create harmless."""

    def __init__(
        self,
        context: Context,
        cluster: Cluster,
        pace: Pace,
        denied_grace: timedelta,
        materializer: Materializer,
        urls: PayloadUrls,
        variables: Callable[[RunRequested, datetime], Mapping[str, str]] = lambda _request, _now: {},
        held: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """A denial that lasts for `denied_grace` is for good. `variables` are what a Job made now is given besides.
        While the cluster is `held` nothing is created on it.
        """
        self.pace = pace
        self._denied_grace = denied_grace
        self._cluster = cluster
        self._store = context.store
        self._journal = context.journal
        self._materializer = materializer
        self._urls = urls
        self._variables = variables
        self._clock = context.clock
        self._monotonic = context.monotonic
        self.cluster = cluster.name
        self._held = held
        self._creates = asyncio.Semaphore(pace.in_flight)
        self._turns = asyncio.Lock()
        self._closed_because = ""

    @property
    def held(self) -> bool:
        """Whether nothing may be created: the cluster is cordoned, or nobody knows whether it is."""
        return self._held(self.cluster)

    async def reached(self) -> None:
        """Returns once the cluster answers: while it is not there yet, its queue may as well stay in its topic."""
        await retry(self._cluster.identity, "cluster_unreachable", cluster=self._cluster.name)

    async def place(
        self, request_id: str, refusal: str = "", paid: Callable[[], None] = lambda: None
    ) -> Placed:
        """`refusal` is what became of the last attempt; `paid` hears that there was a token, if one is needed.

        Raises Refused or Unavailable where another may do better.
        """
        looked, identity, owner = self._monotonic(), "", ""
        decision: Wait | Drop | Append | Create | JobView
        run, decision = await self._decide(request_id, refusal)
        if run and isinstance(decision, Create):
            identity = await self._identity()
            owner = decision.parent_uid if await self._lives(run, decision.parent_uid) else ""
            await self._token()
            paid()
            async with self._creates:
                while isinstance(decision, Create) and self._monotonic() - looked > _STALE:
                    looked = self._monotonic()
                    run, decision = await self._decide(request_id, refusal)
                if isinstance(decision, Create) and self.held:
                    return Placed.NOT_YET
                if isinstance(decision, Create):
                    run = decision.run
                    decision = await self._create(run, owner if owner == decision.parent_uid else "")
        match decision:
            case JobView() as job if run:
                await self._append_created(run, job, identity)
                return Placed.CREATED
            case Append(RunSchedulingFailed() as fact) if run:
                return await self._end(run, fact)
            case Append(fact):
                await self._journal.append([fact])
                return Placed.NONE
            case Wait():
                return Placed.NOT_YET
            case _:
                return Placed.NONE

    async def _decide(
        self, request_id: str, refusal: str
    ) -> tuple[Run | None, Wait | Drop | Append | Create]:
        run = await self._store.get(request_id)
        parent_of = run.request.parent if run else None
        parent = await self._store.get(parent_of.request_id) if parent_of else None
        return run, place(run, parent, self._cluster.name, self._clock(), refusal or self._closed_because)

    async def _identity(self) -> str:
        """Of the cluster as it is now: another may have got its name."""
        try:
            return await self._cluster.identity()
        except Unavailable as error:
            self._push_back(error)
            raise

    async def _lives(self, child: Run, parent_uid: str) -> bool:
        """Whether the parent's Job is there to own a child's: Kubernetes deletes a Job whose owner does not exist."""
        if not parent_uid or child.request.parent is None:
            return False
        job = await self._cluster.get(child.request.parent.request_id)
        return bool(job and job.metadata.uid == parent_uid and job.metadata.deletion_timestamp is None)

    async def _token(self) -> None:
        async with self._turns:  # in the order in which they were admitted
            while (wait := self.pace.bucket.take(self._monotonic())) > 0:  # noqa: ASYNC110 - time brings tokens
                await asyncio.sleep(min(wait, 1.0))

    async def _create(self, run: Run, owner: str) -> JobView | Append:
        """The run's Job, also where an earlier create was done and not answered; or why it will never have one."""
        url = await self._payload_url(run)
        started = self._monotonic()
        try:
            variables = self._variables(run.request, self._clock())
            created = await self._cluster.create(self._materializer.job(run.request, url, owner, variables))
        except InvalidInput as error:  # it is in the request, where no other attempt finds anything else
            return Append(refused(run, str(error), self._clock()))
        except Refused as error:
            if is_for_good(error, run, self._clock(), self._denied_grace):
                return Append(refused(run, str(error), self._clock()))
            self._push_back(error)
            raise
        except Unavailable as error:
            self._push_back(error)
            raise
        self._closed_because = ""
        self.pace.bucket.succeeded(self._monotonic(), self._monotonic() - started)
        if not created.fresh and not is_ours(created.job, run.request, self._materializer.installation):
            raise Refused(409, f"a Job {run.id} is there that is not this run's, or is being deleted")
        return created.job

    async def _payload_url(self, run: Run) -> str:
        """Good for as long as the run may take, and as long as its request asked for after that."""
        deadline = timedelta(seconds=run.request.spec.runtime_environment.deadline_seconds or 0)
        return await self._urls.url(run.request, self._clock(), deadline)

    def _push_back(self, error: Refused | Unavailable) -> None:
        """Slow down where the cluster is overloaded or away; a refusal of another kind does not mean load."""
        if isinstance(error, Refused) and error.status != 429 and error.status < 500:
            return
        retry_after = error.retry_after if isinstance(error, Refused) else None
        self.pace.bucket.pushed_back(self._monotonic(), retry_after)
        self._closed_because = str(error)

    async def _append_created(self, run: Run, job: JobView, identity: str) -> None:
        fact = JobCreated(
            request_id=run.id,
            algorithm=run.request.algorithm,
            at=self._clock(),
            job_uid=job.metadata.uid,
            cluster=self._cluster.name,
            cluster_id=identity,
        )
        # Not by way of another create: whoever deletes the Job meanwhile would make that a second one.
        await retry(partial(self._journal.append, [fact]))

    async def _end(self, run: Run, fact: RunSchedulingFailed) -> Placed:
        """No Job comes of it, unless there is one: an earlier create may have been done and not answered."""
        try:
            identity, job = await self._cluster.identity(), await self._cluster.get(run.id)
        except Unavailable:
            if self._clock() < run.request.placement_deadline:
                raise
            job = None  # where it turns up later, its watcher sends the collector
        if job and is_ours(job, run.request, self._materializer.installation):
            await self._append_created(run, job, identity)
            return Placed.CREATED
        await self._journal.append([fact])
        return Placed.NONE
