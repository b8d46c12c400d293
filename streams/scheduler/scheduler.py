"""The scheduler: drains the requests of one cluster through the throttle and makes Jobs of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from sys import intern
from typing import Any, TypeGuard

import msgspec
import structlog

from nexus.domain.admission import Entry, LookAhead, retry_delay, should_defer
from nexus.domain.errors import Refused, Unavailable
from nexus.domain.events import (
    REPORTED,
    Fact,
    RunCompleted,
    RunDeferred,
    RunFailed,
    RunStarted,
    TerminalFact,
)
from nexus.domain.figures import Figures
from nexus.domain.run import Run
from nexus.domain.throttle import PendingWindow
from nexus.ports import Partition
from streams.context import Context
from streams.processor import Ack, Delivery
from streams.scheduler.placing import Placed, Placer

__all__ = ["Scheduler", "Starts"]

_log = structlog.get_logger(__name__)

_SERVED = 2
"""Requests at a time for each create in flight: of the others the rows are read, or the facts of their Jobs appended."""
_AHEAD = 0.25
"""Seconds of the rate for which requests are admitted before there are tokens for them: nobody passes those by."""
_LOOK_AGAIN = 0.05
"""Seconds before a look at a row that was not there, or at a pending window that was full."""


class _Glance(msgspec.Struct, rename="camel"):
    """What the window keeps of a request: the rest is read from its row when its turn comes."""

    algorithm: str
    at: datetime
    tenant: str = ""
    weight: int = 1


_glance = msgspec.json.Decoder(_Glance).decode


class _Attempts(msgspec.Struct):
    """A request that was refused: since when, in seconds of the monotonic clock, and why last."""

    count: int
    first: float
    last: Refused | Unavailable


class Scheduler:
    """Creates Jobs. A request stays unacknowledged until its Job exists, or is known never to."""

    def __init__(
        self,
        context: Context,
        placer: Placer,
        window: LookAhead[Ack],
        pending: PendingWindow,
        defer_after: timedelta,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """A request that has been refused for `defer_after` is parked."""
        self._placer = placer
        self._store = context.store
        self._journal = context.journal
        self._window = window
        self._starting = pending
        self._defer_after = defer_after
        self._clock = context.clock
        self._monotonic = context.monotonic
        self._chance = context.chance
        self._spawn = spawn
        self._attempts: dict[str, _Attempts] = {}
        self._pending: dict[str, tuple[str, str]] = {}
        """The algorithm and the tenant of each run that counts as pending, in both windows."""
        self._changed = asyncio.Event()
        self._free = asyncio.Semaphore(_SERVED * placer.pace.in_flight)
        self._mine: frozenset[int] = frozenset()
        self._taken: dict[Partition, int] = {}
        """Where each partition goes on behind what is held here."""
        self._serving = 0
        self._unpaid: set[Entry[Ack]] = set()
        """Those admitted that have no token yet, and may need none."""

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """The cluster's rate is shared out by the partitions of its one topic."""
        numbers = frozenset(partition.number for partition in mine)
        for lost in self._mine - numbers:
            self._window.drop_partition(lost)
        self._mine = numbers
        self._taken = {at: offset for at, offset in self._taken.items() if at in mine}
        self._placer.pace.bucket.share(len(mine) / len(every), self._monotonic())
        self._changed.set()

    async def process(self, batch: Sequence[Delivery]) -> None:
        """Take the batch into the window, waiting while that is full: the queue is the topic."""
        for topic, partition, offset in (delivery.record.position for delivery in batch):
            self._taken.setdefault(Partition(topic, partition), offset)
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
                intern(glance.algorithm),
                glance.at.timestamp(),
                record.position.partition,
                delivery.ack,
                intern(glance.tenant),
                glance.weight,
            )
            while entry.partition in self._mine and not self._window.offer(entry):
                self._changed.clear()
                await self._changed.wait()
            topic, partition, offset = record.position
            self._taken[Partition(topic, partition)] = offset + 1
            self._changed.set()

    async def caught_up(self, until: datetime) -> None:
        """What is held here is not acknowledged yet."""

    async def run(self) -> None:
        """Until cancelled: admit one request after the other, as fast as the throttle lets them."""
        await self._placer.reached()
        while True:
            await self._free.acquire()
            entry = await self._next()
            self._serving += 1
            self._unpaid.add(entry)
            self._spawn(self._serve(entry))

    async def figures(self, source: str) -> Figures:
        """Tell of this scheduler's part of the cluster. Raises Unavailable."""
        behind = [await self._journal.end(at) - offset for at, offset in [*self._taken.items()]]
        oldest = self._window.oldest
        return Figures(
            cluster=self._placer.cluster,
            source=source,
            at=self._clock(),
            queued=len(self._window) + self._serving + sum(behind),
            queued_by=self._window.by_tenant(),
            oldest=None if oldest is None else datetime.fromtimestamp(oldest, UTC),
            pending=self._starting.pending,
            window=self._starting.bound,
            rate=self._placer.pace.bucket.rate,
        )

    def heard(self, fact: Fact | None) -> None:
        """Take in a fact of any run, or None for none until now: starts and ends make room for others."""
        self._starting.heard(self._monotonic())
        if fact is None or self._pending.get(fact.request_id, ("",))[0] != fact.algorithm:
            return  # what is said of a run under another algorithm's name does not count
        if (_shows_start(fact) and self._starting.started(fact.request_id, self._monotonic())) or (
            isinstance(fact, TerminalFact) and self._starting.gone(fact.request_id)
        ):
            self._release(fact.request_id)

    def _release(self, request_id: str) -> None:
        self._window.release(*self._pending.pop(request_id))
        self._changed.set()

    async def _next(self) -> Entry[Ack]:
        """The next request, once there is one and room for its Job."""
        while True:
            now = self._monotonic()
            self._changed.clear()
            room = self._starting.room(now)
            if (
                not self._placer.held
                and len(self._unpaid) < max(1, self._placer.pace.bucket.rate * _AHEAD)
                and room > 0
                and (entry := self._window.next(now, self._starting.bound + self._starting.stuck))
            ):
                self._changed.set()  # a place in the window became free
                if self._starting.created(entry.request_id, now):
                    self._pending[entry.request_id] = entry.algorithm, entry.tenant
                else:  # the same request once more: it is counted already
                    self._window.release(entry.algorithm, entry.tenant)
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
        attempts = self._attempts.get(entry.request_id)
        try:
            refusal = str(attempts.last) if attempts else ""
            match await self._placer.place(entry.request_id, refusal, partial(self._paid, entry)):
                case Placed.CREATED:  # the Job stays in the pending window until its start is heard
                    self._attempts.pop(entry.request_id, None)
                    entry.ack()
                case Placed.NONE:
                    self._done(entry)
                case Placed.NOT_YET:
                    self._put_back(entry, _LOOK_AGAIN)
        except (Refused, Unavailable) as error:
            await self._try_again(entry, error)
        finally:
            self._paid(entry)
            self._serving -= 1
            self._free.release()

    def _paid(self, entry: Entry[Ack]) -> None:
        """It waits for no token any more, so that another one may."""
        self._unpaid.discard(entry)
        self._changed.set()

    def _done(self, entry: Entry[Ack]) -> None:
        """No Job comes of this entry."""
        self._attempts.pop(entry.request_id, None)
        if self._starting.gone(entry.request_id):
            self._release(entry.request_id)
        entry.ack()

    def _put_back(self, entry: Entry[Ack], delay: float) -> None:
        self._starting.gone(entry.request_id)
        self._pending.pop(entry.request_id, None)
        if entry.partition in self._mine:
            self._window.put_back(entry, self._monotonic() + delay)
        else:
            self._attempts.pop(entry.request_id, None)
            self._window.release(entry.algorithm, entry.tenant)
        self._changed.set()

    async def _try_again(self, entry: Entry[Ack], error: Refused | Unavailable) -> None:
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
                should_defer(attempts.first, now, self._defer_after.total_seconds())
                or again >= run.request.placement_deadline
            ):
                await self._defer(entry, run, error)
                return
        except Unavailable as unheard:
            _log.warning("deferral_waits", run=entry.request_id, problem=str(unheard))
        self._put_back(entry, delay)

    async def _defer(self, entry: Entry[Ack], run: Run, error: Refused | Unavailable) -> None:
        """Acknowledge a request that has been refused for long, so that it holds up no offset."""
        if not run.ended and not run.job_uid:
            now = self._clock()
            fact = RunDeferred(
                request_id=run.id,
                algorithm=run.request.algorithm,
                at=now,
                attempt=run.deferrals + 1,
                until=min(now + self._defer_after, run.request.placement_deadline),
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
    """Passes to a scheduler which of its Jobs started or ended: a processor over `nexus.runs`, from its end on."""

    def __init__(self, context: Context, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._journal = context.journal
        self._clock = context.clock

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        """Every scheduler gets the starts of all runs."""

    async def process(self, batch: Sequence[Delivery]) -> None:
        events = await self._journal.read((delivery.record for delivery in batch), self._clock())
        for _, event in events:
            if isinstance(event, Fact):
                self._scheduler.heard(event)
        for delivery in batch:
            delivery.ack()

    async def caught_up(self, until: datetime) -> None:
        self._scheduler.heard(None)
