"""The scheduler: drains the requests of one cluster through the throttle and makes Jobs of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeGuard

import msgspec
import structlog

from nexus.domain.admission import Entry, Window, retry_delay, should_park
from nexus.domain.errors import NexusError, Refused, Unavailable
from nexus.domain.events import (
    REPORTED,
    Fact,
    JobCreated,
    RunCompleted,
    RunDeferred,
    RunFailed,
    RunSchedulingFailed,
    RunStarted,
    TerminalFact,
)
from nexus.domain.job import Materializer, is_ours
from nexus.domain.observed import JobView
from nexus.domain.placement import Create, Drop, Record, Wait, is_for_good, place, refused
from nexus.domain.run import Run
from nexus.domain.throttle import PendingWindow, TokenBucket
from nexus.journal import Journal
from nexus.ports import Cluster, Partition, PayloadUrls, RunStore
from streams.processor import Ack, Clock, Delivery
from streams.retry import retry

__all__ = ["Scheduler", "Starts", "Throttle"]

_log = structlog.get_logger(__name__)

_STALE = 0.5
"""Seconds after which a row is read again before its Job is created: a short run may have come and gone meanwhile."""
_LOOK_AGAIN = 0.05
"""Seconds before a look at a row that was not there, or at a pending window that was full."""


class _Glance(msgspec.Struct, rename="camel"):
    """What the window keeps of a request: the rest is read from its row when its turn comes."""

    algorithm: str
    at: datetime


_glance = msgspec.json.Decoder(_Glance).decode


class _Attempts(msgspec.Struct):
    """A request that was refused: since when, in seconds of the monotonic clock, and why last."""

    count: int
    first: float
    last: NexusError


class Throttle(msgspec.Struct, frozen=True):
    """The two measures of one cluster, how long a refused request is held before it is parked, and how long a denial
    is no refusal for good.
    """

    bucket: TokenBucket
    pending: PendingWindow
    park_after: timedelta
    in_flight: int
    denied_grace: timedelta


class Scheduler:
    """A request stays unacknowledged until its Job exists, or it is known that none will."""

    def __init__(
        self,
        cluster: Cluster,
        store: RunStore,
        journal: Journal,
        window: Window[Ack],
        throttle: Throttle,
        materializer: Materializer,
        urls: PayloadUrls,
        clock: Clock,
        monotonic: Callable[[], float],
        chance: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._journal = journal
        self._window = window
        self._throttle = throttle
        self._materializer = materializer
        self._urls = urls
        self._clock = clock
        self._monotonic = monotonic
        self._chance = chance
        self._spawn = spawn
        self._attempts: dict[str, _Attempts] = {}
        self._pending: dict[str, str] = {}
        """The algorithm of each run that counts as pending, in the window as in the throttle."""
        self._closed_because = ""
        self._changed = asyncio.Event()
        self._free = asyncio.Semaphore(throttle.in_flight)
        self._mine: frozenset[int] = frozenset()

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """The cluster's rate is shared out by the partitions of its one topic."""
        numbers = frozenset(partition.number for partition in mine)
        for lost in self._mine - numbers:
            self._window.drop_partition(lost)
        self._mine = numbers
        self._throttle.bucket.share(len(mine) / len(every), self._monotonic())
        self._changed.set()

    async def process(self, batch: Sequence[Delivery]) -> None:
        """Take the batch into the window, waiting while that is full: the queue is the topic."""
        for delivery in batch:
            record = delivery.record
            try:
                glance = _glance(record.value)
            except msgspec.MsgspecError as error:
                await self._journal.dead_letter(record, f"not a request: {error}", self._clock())
                delivery.ack()
                continue
            entry = Entry(
                record.key,
                glance.algorithm,
                glance.at.timestamp(),
                len(record.value),
                record.position.partition,
                delivery.ack,
            )
            while entry.partition in self._mine and not self._window.offer(entry):
                self._changed.clear()
                await self._changed.wait()
            self._changed.set()

    async def caught_up(self, until: datetime) -> None:
        """What is held here is not acknowledged yet."""

    async def run(self) -> None:
        """Until cancelled: admit one request after the other, as fast as the throttle lets them."""
        await self._reached()
        while True:
            await self._free.acquire()
            entry = await self._next()
            self._spawn(self._serve(entry))

    def heard(self, fact: Fact | None) -> None:
        """A fact of some run, or that there was none: starts and ends make room for others."""
        pending = self._throttle.pending
        pending.heard(self._monotonic())
        if fact is None or self._pending.get(fact.request_id) != fact.algorithm:
            return  # what is said of a run under another algorithm's name does not count
        if (_shows_start(fact) and pending.started(fact.request_id, self._monotonic())) or (
            isinstance(fact, TerminalFact) and pending.gone(fact.request_id)
        ):
            self._release(fact.request_id)

    def _release(self, request_id: str) -> None:
        self._window.release(self._pending.pop(request_id))
        self._changed.set()

    async def _reached(self) -> None:
        """While a cluster is not there yet, its queue may as well stay in its topic."""
        while True:
            try:
                await self._cluster.identity()
            except Unavailable as error:
                _log.warning("cluster_not_reached", cluster=self._cluster.name, problem=str(error))
                await asyncio.sleep(_LOOK_AGAIN)
            else:
                return

    async def _next(self) -> Entry[Ack]:
        """The next request, once there is one and room for its Job."""
        pending = self._throttle.pending
        while True:
            now = self._monotonic()
            self._changed.clear()
            if pending.room(now) > 0 and (entry := self._window.next(now, pending.bound + pending.stuck)):
                self._changed.set()  # a place in the window became free
                if pending.created(entry.request_id, now):
                    self._pending[entry.request_id] = entry.algorithm
                else:
                    self._window.release(entry.algorithm)  # the same request once more: it is counted already
                return entry
            due = self._window.next_due(now)
            waits = len(self._window) > 0 or due is not None
            try:
                # Not `wait_for`: on Python 3.11 it forgets a cancellation that comes together with the event.
                async with asyncio.timeout(_LOOK_AGAIN if waits else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _serve(self, entry: Entry[Ack]) -> None:
        try:
            await self._place(entry)
        except NexusError as error:
            await self._try_again(entry, error)
        finally:
            self._free.release()

    async def _place(self, entry: Entry[Ack]) -> None:
        looked, identity, owner = self._monotonic(), "", ""
        run, decision = await self._decide(entry)
        if run and isinstance(decision, Create):
            identity = await self._identity()
            owner = decision.parent_uid if await self._lives(run, decision.parent_uid) else ""
            await self._token()
        while isinstance(decision, Create) and self._monotonic() - looked > _STALE:
            looked = self._monotonic()
            run, decision = await self._decide(entry)
        match decision:
            case Wait():
                self._put_back(entry, _LOOK_AGAIN)
            case Drop():
                self._done(entry)
            case Record(RunSchedulingFailed() as fact) if run:
                await self._end(entry, run, fact)
            case Record(fact):
                await self._journal.append([fact])
                self._done(entry)
            case Create(due, parent_uid):
                await self._create(entry, due, owner if owner == parent_uid else "", identity)

    async def _decide(self, entry: Entry[Ack]) -> tuple[Run | None, Wait | Drop | Record | Create]:
        run = await self._store.get(entry.request_id)
        parent_of = run.request.parent if run else None
        parent = await self._store.get(parent_of.request_id) if parent_of else None
        attempts = self._attempts.get(entry.request_id)
        refusal = str(attempts.last) if attempts else self._closed_because
        return run, place(run, parent, self._cluster.name, self._clock(), refusal)

    async def _identity(self) -> str:
        """Of the cluster as it is now: another may have got its name."""
        try:
            return await self._cluster.identity()
        except Unavailable as error:
            self._push_back(error)
            raise

    async def _token(self) -> None:
        while (wait := self._throttle.bucket.take(self._monotonic())) > 0:  # noqa: ASYNC110 - time brings tokens
            await asyncio.sleep(min(wait, 1.0))

    async def _create(self, entry: Entry[Ack], run: Run, owner: str, identity: str) -> None:
        job = self._materializer.job(run.request, await self._payload_url(run), owner)
        started = self._monotonic()
        try:
            created = await self._cluster.create(job)
        except Refused as error:
            if not is_for_good(error, run, self._clock(), self._throttle.denied_grace):
                self._push_back(error)
                raise
            await self._end(entry, run, refused(run, str(error), self._clock()))
            return
        except Unavailable as error:
            self._push_back(error)
            raise
        self._closed_because = ""
        self._throttle.bucket.succeeded(self._monotonic(), self._monotonic() - started)
        if not created.fresh and not is_ours(created.job, run.request, self._materializer.installation):
            raise Refused(409, f"a Job {run.id} is there that is not this run's, or is being deleted")
        await self._say_created(entry, run, created.job, identity)

    async def _say_created(self, entry: Entry[Ack], run: Run, job: JobView, identity: str) -> None:
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
        # The Job stays in the pending window until its start is heard.
        self._attempts.pop(run.id, None)
        entry.token()

    async def _end(self, entry: Entry[Ack], run: Run, fact: RunSchedulingFailed) -> None:
        """No Job comes of this entry, unless there is one: an earlier create may have been done and not answered."""
        try:
            identity, job = await self._cluster.identity(), await self._cluster.get(run.id)
        except Unavailable:
            if self._clock() < run.request.placement_deadline:
                raise
            job = None  # where it turns up later, its watcher sends the collector
        if job and is_ours(job, run.request, self._materializer.installation):
            await self._say_created(entry, run, job, identity)
            return
        await self._journal.append([fact])
        self._done(entry)

    async def _lives(self, child: Run, parent_uid: str) -> bool:
        """Whether the parent's Job is there to own a child's: one whose owner is gone is collected by the cluster."""
        if not parent_uid or child.request.parent is None:
            return False
        job = await self._cluster.get(child.request.parent.request_id)
        return bool(job and job.metadata.uid == parent_uid and job.metadata.deletion_timestamp is None)

    def _push_back(self, error: Refused | Unavailable) -> None:
        """Slow down where the cluster is overloaded or away; a refusal of another kind says nothing of its load."""
        if isinstance(error, Refused) and error.status != 429 and error.status < 500:
            return
        retry_after = error.retry_after if isinstance(error, Refused) else None
        self._throttle.bucket.pushed_back(self._monotonic(), retry_after)
        self._closed_because = str(error)

    async def _payload_url(self, run: Run) -> str:
        """Good for as long as the run may take, and as long as its request asked for after that."""
        deadline = timedelta(seconds=run.request.spec.runtime_environment.deadline_seconds or 0)
        return await self._urls.url(run.request, self._clock(), deadline)

    def _done(self, entry: Entry[Ack]) -> None:
        """No Job comes of this entry."""
        self._attempts.pop(entry.request_id, None)
        if self._throttle.pending.gone(entry.request_id):
            self._release(entry.request_id)
        entry.token()

    def _put_back(self, entry: Entry[Ack], delay: float) -> None:
        self._throttle.pending.gone(entry.request_id)
        self._pending.pop(entry.request_id, None)
        if entry.partition in self._mine:
            self._window.put_back(entry, self._monotonic() + delay)
        else:
            self._attempts.pop(entry.request_id, None)
            self._window.release(entry.algorithm)
        self._changed.set()

    async def _try_again(self, entry: Entry[Ack], error: NexusError) -> None:
        """Refused for now, or unknown: the name of the Job makes a second create harmless."""
        now = self._monotonic()
        attempts = self._attempts.setdefault(entry.request_id, _Attempts(0, now, error))
        attempts.count += 1
        attempts.last = error
        _log.warning("create_waits", run=entry.request_id, attempt=attempts.count, problem=str(error))
        delay = retry_delay(attempts.count, self._chance())
        try:
            run = await self._store.get(entry.request_id)
            again = self._clock() + timedelta(seconds=delay)
            # Who ends the run at its deadline must know the refusal, also where it came too late for another attempt.
            if run and (
                should_park(attempts.first, now, self._throttle.park_after.total_seconds())
                or again >= run.request.placement_deadline
            ):
                await self._park(entry, run, error)
                return
        except Unavailable as unheard:
            _log.warning("parking_waits", run=entry.request_id, problem=str(unheard))
        self._put_back(entry, delay)

    async def _park(self, entry: Entry[Ack], run: Run, error: NexusError) -> None:
        """Let go of a request that has been refused for long, so that it holds up no offset."""
        if not run.ended and not run.job_uid:
            now = self._clock()
            fact = RunDeferred(
                request_id=run.id,
                algorithm=run.request.algorithm,
                at=now,
                attempt=run.deferrals + 1,
                until=min(now + self._throttle.park_after, run.request.placement_deadline),
                reason=str(error),
                denied=isinstance(error, Refused) and error.denied,
            )
            await self._journal.append([fact])
        self._done(entry)


def _shows_start(fact: Fact | None) -> TypeGuard[RunStarted | RunCompleted | RunFailed]:
    """A short run reports its end before its start is observed."""
    reported = isinstance(fact, RunFailed) and fact.diagnosis.category == REPORTED
    return reported or isinstance(fact, RunStarted | RunCompleted)


class Starts:
    """Lets a scheduler hear which of its Jobs started or ended: a processor over `nexus.runs`, from its end on."""

    def __init__(self, scheduler: Scheduler, journal: Journal, clock: Clock) -> None:
        self._scheduler = scheduler
        self._journal = journal
        self._clock = clock

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """Every scheduler hears of all starts."""

    async def process(self, batch: Sequence[Delivery]) -> None:
        events = await self._journal.read((delivery.record for delivery in batch), self._clock())
        for _, event in events:
            if isinstance(event, Fact):
                self._scheduler.heard(event)
        for delivery in batch:
            delivery.ack()

    async def caught_up(self, until: datetime) -> None:
        self._scheduler.heard(None)
