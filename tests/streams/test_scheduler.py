"""The scheduler: one Job for each request, whatever the cluster says, and no more of them than the throttle allows."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from datetime import timedelta

import pytest

from nexus.domain.admission import LookAhead
from nexus.domain.errors import NexusError, OutcomeUnknown, Refused, Unavailable
from nexus.domain.events import DeadLettered, JobCreated, Parent, RunDeferred, RunSchedulingFailed
from nexus.domain.figures import Figures
from nexus.domain.job import ALGORITHM, is_ours
from nexus.domain.payload import PayloadSigner
from nexus.domain.run import DRY_RUN, Stage, State
from nexus.domain.throttle import PendingWindow, TokenBucket
from nexus.domain.topics import DEAD_LETTERS, RUNS
from nexus.payload_urls import SignedUrls
from nexus.ports import Folded
from streams.processor import Ack, Delivery
from streams.scheduler.placing import Pace, Placer
from streams.scheduler.scheduler import Scheduler, Starts
from tests.streams.conftest import ELSEWHERE, MATERIALIZER, REQUESTS, TOPICS, Installation, run_id
from tests.support.factories import CLUSTER, after, algorithm, cancelled, completed, folded, job_created

PARK_AFTER = 60
DENIED_GRACE = 300
SIGNER = PayloadSigner("http://nexus.test", "tenant", b"secret")


class Scheduling:
    """A scheduler, and what it has taken of its topic. Its limits bound nothing unless a test says so."""

    def __init__(
        self,
        installation: Installation,
        *,
        rate: float = 1e6,
        burst: float = 1e6,
        pending: int = 1000,
        ceiling: int = 0,
        window: int = 1000,
        in_flight: int = 8,
        batch: int = 500,
    ) -> None:
        self.window: LookAhead[Ack] = LookAhead(window)
        self.pending = PendingWindow(
            floor=pending, ceiling=ceiling or pending, target_wait=5, grace=1e6, stuck_ceiling=1000
        )
        self.taken = 0
        self.held = False
        self._installation = installation
        placer = Placer(
            installation.context,
            installation.cluster,
            Pace(TokenBucket(rate, burst), in_flight),
            timedelta(seconds=DENIED_GRACE),
            MATERIALIZER,
            SignedUrls(SIGNER),
            held=lambda _: self.held,
        )
        self._scheduler = Scheduler(
            installation.context,
            placer,
            self.window,
            self.pending,
            timedelta(seconds=PARK_AFTER),
            installation.spawn,
        )
        self._tasks = [
            installation.drive(self, REQUESTS, consumers="scheduler", batch=batch),
            installation.drive(Starts(installation.context, self._scheduler), RUNS, consumers=None),
        ]

    async def assigned(self, mine, every) -> None:
        await self._scheduler.assigned(mine, every)

    async def process(self, batch: Sequence[Delivery]) -> None:
        self.taken += len(batch)
        await self._scheduler.process(batch)

    async def caught_up(self, until) -> None:
        await self._scheduler.caught_up(until)

    def run(self) -> Scheduling:
        """Begin to admit what is in the window."""
        self._tasks.append(self._installation.spawn(self._scheduler.run()))
        return self

    async def stop(self) -> None:
        await self._installation.stop(*self._tasks)

    async def figures(self) -> Figures:
        return await self._scheduler.figures("scheduler/tests")

    async def settled(self) -> None:
        """Everything on its topic was acknowledged."""
        await self._installation.consumed("scheduler", REQUESTS)


@pytest.fixture
async def nexus(installation):
    """With a ledger that follows."""
    installation.start_ledger()
    return installation


async def placed(nexus: Installation, run: str, *, passing: float = 0.01):
    return await nexus.reaches(run, lambda row: row.job_uid, passing=passing)


# One Job for each request


async def test_a_cluster_that_is_held_is_given_nothing_and_what_waits_goes_on_later(nexus):
    scheduling = Scheduling(nexus, window=2).run()
    scheduling.held = True
    # Of one partition, so that those count that do not fit into the look-ahead.
    number, *others = [each for each in range(30) if zlib.crc32(run_id(each).encode()) % 2][:5]
    first = await nexus.queued(number)
    for each in others:
        await nexus.queued(each)

    async def waiting() -> Figures | None:
        figures = await scheduling.figures()
        return figures if figures.queued == 5 else None

    figures = await nexus.until(waiting)
    assert (figures.cluster, figures.source) == (CLUSTER, "scheduler/tests")
    assert (figures.pending, figures.window) == (0, 1000)
    assert figures.queued_by == {"": 2}
    assert figures.oldest == first.request.at
    assert nexus.cluster.asked == []
    assert await nexus.committed("scheduler", REQUESTS) == [0] * TOPICS[REQUESTS]
    scheduling.held = False
    for each in (number, *others):
        await placed(nexus, run_id(each))
    await scheduling.settled()

    async def none_waits() -> bool:
        figures = await scheduling.figures()
        return (figures.queued, figures.oldest, figures.pending) == (0, None, 5)

    await nexus.until(none_waits)


async def test_one_job_for_each_request(nexus):
    scheduling = Scheduling(nexus).run()
    ids = [run_id(number) for number in range(30)]
    await nexus.say(*(nexus.request(number) for number in range(30)))
    for run in ids:
        row = await placed(nexus, run)
        job = nexus.cluster.jobs[run]
        assert is_ours(job, row.request, "tests")
        assert (row.stage, row.job_uid, row.cluster_id) == (
            Stage.RUNNING,
            job.metadata.uid,
            nexus.cluster.uid,
        )
    assert sorted(nexus.cluster.placed) == ids
    await scheduling.settled()
    for run in ids:
        assert await nexus.types(run) == ["JobCreated"]


async def test_the_job_carries_an_address_that_opens_the_payload(nexus):
    Scheduling(nexus).run()
    run = await nexus.queued(1)
    await placed(nexus, run.id)
    [(_, job)] = nexus.cluster.asked
    [argument, _] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    url = argument.removeprefix("--sas-uri=")
    assert url.startswith(f"http://nexus.test{run.request.payload_uri}?")
    query = dict(part.split("=", 1) for part in url.partition("?")[2].replace("%3D", "=").split("&"))
    assert SIGNER.allows(run.request.payload_uri, query, after(3600))


async def test_a_request_waits_for_its_row(installation):
    scheduling = Scheduling(installation).run()
    early, late = installation.request(1), installation.request(2)
    await installation.say(early)
    await installation.store.write([Folded(folded(request=late), [])])
    await installation.say(late)
    # The first is older and had its turn, so it waits for its row and for nothing else.
    await installation.has_said(late.request_id, "JobCreated")
    assert installation.cluster.placed == [late.request_id]
    await installation.store.write([Folded(folded(request=early), [])])
    await installation.has_said(early.request_id, "JobCreated", passing=0.01)
    assert installation.cluster.placed == [late.request_id, early.request_id]
    await scheduling.settled()


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param([cancelled(request_id=run_id(1))], id="ended"),
        pytest.param([job_created(request_id=run_id(1))], id="has its Job"),
        pytest.param([job_created(request_id=run_id(1)), completed(request_id=run_id(1))], id="is done"),
    ],
)
async def test_what_needs_no_job_any_more_is_acknowledged(nexus, facts):
    await nexus.queued(1)
    await nexus.say(*facts)
    await nexus.reaches(run_id(1), lambda run: run.position == len(facts) - 1)
    scheduling = Scheduling(nexus).run()
    await nexus.consumed("scheduler", REQUESTS)
    assert nexus.cluster.asked == []
    assert len(await nexus.types(run_id(1))) == len(facts)
    await scheduling.settled()


async def test_what_is_no_request_is_dead_lettered_and_acknowledged(nexus):
    scheduling = Scheduling(nexus).run()
    await nexus.append(REQUESTS, run_id(5), b"{", ce_type="nexus.RunRequested.v1", ce_id="1")
    await nexus.say(nexus.request(1))
    await placed(nexus, run_id(1))
    await nexus.consumed("scheduler", REQUESTS)
    letters = [event for event in await nexus.said(DEAD_LETTERS) if isinstance(event, DeadLettered)]
    assert any("not a request" in letter.reason for letter in letters)
    await scheduling.settled()


async def test_a_dry_run_completes_without_a_job(nexus):
    scheduling = Scheduling(nexus).run()
    await nexus.say(nexus.request(1, dry_run=True))
    row = await nexus.reaches(run_id(1), lambda run: run.ended)
    assert (row.stage, row.job_uid) == (Stage.COMPLETED, DRY_RUN)
    assert nexus.cluster.asked == []
    await scheduling.settled()


async def test_too_late_to_be_placed(nexus):
    await nexus.queued(1, placement_deadline=after(100))
    nexus.clock.advance(101)
    scheduling = Scheduling(nexus).run()
    row = await nexus.reaches(run_id(1), lambda run: run.ended)
    assert (row.stage, row.diagnosis.category) == (Stage.SCHEDULING_FAILED, "PlacementDeadline")
    assert nexus.cluster.asked == []
    await scheduling.settled()


# What the cluster says


async def test_refused_for_good(nexus):
    scheduling = Scheduling(nexus).run()
    nexus.cluster.outcomes = iter([Refused(422, "spec.template: no such priority class")])
    await nexus.say(nexus.request(1))
    row = await nexus.reaches(run_id(1), lambda run: run.ended)
    assert row.stage is Stage.SCHEDULING_FAILED
    assert "no such priority class" in row.diagnosis.cause
    assert "422" in row.diagnosis.details
    assert len(nexus.cluster.asked) == 1
    await scheduling.settled()
    assert scheduling.pending.pending == 0
    assert [type(fact) for fact in await nexus.said(RUNS)] == [RunSchedulingFailed]


@pytest.mark.parametrize(
    "error",
    [
        Refused(401, "Unauthorized"),
        Refused(403, "exceeded quota"),
        Refused(409, "conflict"),
        Refused(429, "too many requests", retry_after=2),
        Refused(500, "etcd leader changed"),
        Refused(503, "unavailable"),
        Unavailable("no route to host"),
    ],
    ids=str,
)
async def test_refused_for_now(nexus, error):
    scheduling = Scheduling(nexus).run()
    nexus.cluster.outcomes = iter([error, error])
    await nexus.say(nexus.request(1))
    row = await placed(nexus, run_id(1), passing=0.2)
    assert nexus.cluster.placed == [run_id(1)] * 3
    assert row.job_uid == nexus.cluster.jobs[run_id(1)].metadata.uid
    assert await nexus.types(run_id(1)) == ["JobCreated"]
    await scheduling.settled()


async def test_no_create_before_the_cluster_said(nexus):
    Scheduling(nexus).run()
    nexus.cluster.outcomes = iter([Refused(429, "later", retry_after=20)])
    await nexus.say(*(nexus.request(number) for number in range(3)))
    for number in range(3):
        await placed(nexus, run_id(number), passing=0.2)
    refused_at = nexus.cluster.asked[0][0]
    later = [at - refused_at for at, _ in nexus.cluster.asked if at > refused_at + timedelta(seconds=0.1)]
    assert later
    assert min(later) >= timedelta(seconds=20)


async def test_a_job_whose_creation_went_unheard_is_found(nexus):
    scheduling = Scheduling(nexus).run()
    nexus.cluster.outcomes = iter([OutcomeUnknown("the connection was lost")])
    await nexus.say(nexus.request(1))
    row = await placed(nexus, run_id(1), passing=0.2)
    assert len(nexus.cluster.asked) == 2
    assert row.job_uid == nexus.cluster.jobs[run_id(1)].metadata.uid
    assert await nexus.types(run_id(1)) == ["JobCreated"]
    await scheduling.settled()


async def test_the_next_scheduler_finds_the_job_of_one_that_died(nexus):
    dying = Scheduling(nexus).run()
    nexus.cluster.outcomes = iter([OutcomeUnknown("and then the power went")])
    await nexus.say(nexus.request(1))
    await nexus.until(lambda: nexus.cluster.jobs)
    await dying.stop()
    assert await nexus.committed("scheduler", REQUESTS) != await nexus.ends(REQUESTS)
    uid = nexus.cluster.jobs[run_id(1)].metadata.uid
    scheduling = Scheduling(nexus).run()
    assert (await placed(nexus, run_id(1))).job_uid == uid
    assert await nexus.types(run_id(1)) == ["JobCreated"]
    await scheduling.settled()


async def test_a_job_of_somebody_else_is_not_taken(nexus):
    foreign = MATERIALIZER.job(nexus.request(1, tag="another"), "http://elsewhere")
    await nexus.cluster.create(foreign)
    scheduling = Scheduling(nexus).run()
    await nexus.say(nexus.request(1))
    await nexus.until(lambda: len(nexus.cluster.asked) == 4, passing=0.2)
    assert await nexus.types(run_id(1)) == []
    foreign_uid = nexus.cluster.jobs[run_id(1)].metadata.uid
    nexus.cluster.lose(run_id(1))
    row = await placed(nexus, run_id(1), passing=0.2)
    assert row.job_uid != foreign_uid
    await scheduling.settled()


async def test_cancelled_while_it_was_refused(nexus):
    scheduling = Scheduling(nexus).run()
    nexus.cluster.outcomes = itertools.repeat(Refused(503, "closed"))
    await nexus.say(nexus.request(1))
    await nexus.until(lambda: nexus.cluster.asked)
    await nexus.say(cancelled(request_id=run_id(1)))
    await nexus.reaches(run_id(1), lambda run: run.ended)
    nexus.cluster.outcomes = iter(())
    nexus.clock.advance(10)
    await nexus.consumed("scheduler", REQUESTS)
    assert nexus.cluster.jobs == {}
    assert await nexus.types(run_id(1)) == ["RunCancelled"]
    await scheduling.settled()


# Parking


async def test_refused_for_long_it_is_parked_and_placed_when_due(nexus):
    scheduling = Scheduling(nexus).run()
    nexus.cluster.outcomes = itertools.repeat(Refused(403, "exceeded quota"))
    await nexus.say(nexus.request(1))
    row = await nexus.reaches(run_id(1), lambda run: run.state is State.PARKED, passing=0.5)
    assert row.deferrals == 1
    assert "exceeded quota" in row.deferred_because
    [deferred] = await nexus.said(RUNS, run_id(1))
    assert isinstance(deferred, RunDeferred)
    first = nexus.cluster.asked[0][0]
    assert deferred.at - first >= timedelta(seconds=PARK_AFTER)
    assert deferred.until - deferred.at == pytest.approx(timedelta(seconds=PARK_AFTER), abs=timedelta(0, 1))
    await nexus.consumed("scheduler", REQUESTS)
    tried = len(nexus.cluster.asked)

    nexus.cluster.outcomes = iter(())
    reconciler = nexus.reconciler()
    await nexus.caught_up()
    await reconciler.reconcile()
    assert await nexus.types(run_id(1)) == ["RunDeferred"]  # not due
    nexus.clock.advance(PARK_AFTER + 1)
    await nexus.caught_up()
    await reconciler.reconcile()
    row = await placed(nexus, run_id(1))
    assert row.job_uid == nexus.cluster.jobs[run_id(1)].metadata.uid
    assert len(nexus.cluster.asked) == tried + 1
    assert sorted(await nexus.types(run_id(1))) == ["JobCreated", "RunDeferred", "RunRequeued"]
    assert len(await nexus.records(REQUESTS)) == 2
    assert await nexus.store.payload(run_id(1)) == b'{"size": 3}'
    await scheduling.settled()


async def test_a_second_parking_counts_on(nexus):
    Scheduling(nexus).run()
    nexus.cluster.outcomes = itertools.repeat(Refused(403, "exceeded quota"))
    await nexus.say(nexus.request(1))
    for attempt in (1, 2):
        await nexus.reaches(
            run_id(1), lambda run, a=attempt: (run.deferrals, run.state) == (a, State.PARKED), passing=0.5
        )
        nexus.clock.advance(PARK_AFTER + 1)
        await nexus.caught_up()
        await nexus.reconciler().reconcile()
    assert await nexus.types(run_id(1)) == ["RunDeferred", "RunRequeued"] * 2


async def test_one_that_is_stuck_holds_up_no_other(nexus):
    def outcomes():
        while True:
            last = nexus.cluster.placed[-1]
            yield Refused(403, "exceeded quota") if last == run_id(0) else None

    nexus.cluster.outcomes = outcomes()
    scheduling = Scheduling(nexus, pending=4).run()
    nexus.start_watcher()
    nexus.start_supervisor()
    await nexus.say(*(nexus.request(number) for number in range(20)))
    for number in range(1, 20):
        await placed(nexus, run_id(number), passing=0.05)
    assert run_id(0) not in nexus.cluster.jobs
    await nexus.reaches(run_id(0), lambda run: run.state is State.PARKED, passing=0.5)
    await scheduling.settled()


# The placement deadline


async def ended_at_its_deadline(nexus: Installation, seconds: float = 40):
    """The row of a run that nobody could place, with a reconciler that looks."""
    nexus.spawn(nexus.reconciler().run(timedelta(milliseconds=10)))
    return await nexus.reaches(run_id(1), lambda run: run.ended, passing=seconds / 200)


@pytest.mark.parametrize(
    "error",
    [Refused(403, "exceeded quota"), Refused(429, "too many requests"), Unavailable("no route to host")],
    ids=str,
)
async def test_the_last_refusal_is_the_cause_also_where_it_was_never_parked(nexus, error):
    scheduling = Scheduling(nexus).run()
    nexus.cluster.outcomes = itertools.repeat(error)
    await nexus.say(nexus.request(1, placement_deadline=after(PARK_AFTER - 20)))
    row = await ended_at_its_deadline(nexus)
    assert (row.stage, row.diagnosis.category) == (Stage.SCHEDULING_FAILED, "PlacementDeadline")
    assert str(error) in row.diagnosis.cause
    await scheduling.settled()


async def test_a_name_that_somebody_else_has_is_the_cause(nexus):
    await nexus.cluster.create(MATERIALIZER.job(nexus.request(1, tag="another"), "http://elsewhere"))
    Scheduling(nexus).run()
    await nexus.say(nexus.request(1, placement_deadline=after(4 * PARK_AFTER)))
    row = await ended_at_its_deadline(nexus, 4 * PARK_AFTER)
    assert row.stage is Stage.SCHEDULING_FAILED
    assert "409" in row.diagnosis.cause
    assert row.deferrals > 1
    assert run_id(1) in nexus.cluster.jobs


async def test_what_nobody_got_to_ends_for_the_reason_that_closed_the_cluster(nexus):
    nexus.cluster.outcomes = itertools.repeat(Refused(503, "etcd is full", retry_after=3600))
    scheduling = Scheduling(nexus, in_flight=1).run()
    await nexus.say(*(nexus.request(number, placement_deadline=after(600)) for number in range(3)))
    await nexus.until(lambda: nexus.cluster.asked)
    nexus.clock.advance(3700)
    for number in range(3):
        row = await nexus.reaches(run_id(number), lambda run: run.ended or run.deferred_because, passing=1)
        assert "etcd is full" in (row.diagnosis.cause if row.diagnosis else row.deferred_because)
    await scheduling.settled()


@pytest.mark.parametrize("who", ["scheduler", "reconciler"])
async def test_a_job_whose_creation_went_unheard_is_looked_for_at_the_deadline(nexus, who):
    """It runs: to say that it could not be placed would be wrong, and would end it."""
    nexus.cluster.outcomes = iter([OutcomeUnknown("the connection was lost")])
    dying = Scheduling(nexus).run()
    await nexus.say(nexus.request(1, placement_deadline=after(PARK_AFTER)))
    await nexus.until(lambda: nexus.cluster.jobs)
    await dying.stop()
    nexus.clock.advance(PARK_AFTER)
    if who == "scheduler":
        Scheduling(nexus).run()
    else:
        await nexus.caught_up()
        await nexus.reconciler().reconcile()
    row = await placed(nexus, run_id(1))
    assert row.job_uid == nexus.cluster.jobs[run_id(1)].metadata.uid
    assert await nexus.types(run_id(1)) == ["JobCreated"]
    assert len(nexus.cluster.asked) == 1


async def test_a_job_that_could_not_be_looked_for_is_collected_when_it_turns_up(nexus):
    """Created, unheard of, and then the cluster is away until after the deadline."""
    collector = nexus.collector()
    nexus.drive(collector, RUNS, consumers="collector")
    nexus.cluster.outcomes = iter([OutcomeUnknown("the connection was lost")])
    Scheduling(nexus).run()
    await nexus.say(nexus.request(1, placement_deadline=after(PARK_AFTER)))
    await nexus.until(lambda: nexus.cluster.jobs)
    nexus.cluster.away = True
    row = await ended_at_its_deadline(nexus, PARK_AFTER)
    assert row.stage is Stage.SCHEDULING_FAILED
    nexus.cluster.away = False
    nexus.start_watcher()
    nexus.start_supervisor()
    await nexus.reaches(run_id(1), lambda run: run.collected_at)
    assert nexus.cluster.jobs == {}
    assert len(nexus.cluster.deleted) == 1


# Refused for good


async def test_a_refusal_for_good_after_an_unheard_creation_does_not_end_the_run(nexus):
    """Admission comes before the name is looked at."""
    scheduling = Scheduling(nexus).run()
    nexus.cluster.outcomes = iter([OutcomeUnknown("no answer"), Refused(422, "denied by a webhook")])
    await nexus.say(nexus.request(1))
    row = await placed(nexus, run_id(1), passing=0.2)
    assert row.job_uid == nexus.cluster.jobs[run_id(1)].metadata.uid
    assert await nexus.types(run_id(1)) == ["JobCreated"]
    await scheduling.settled()


@pytest.mark.parametrize("error", [Refused(401, "Unauthorized"), Refused(403, "forbidden")], ids=str)
async def test_a_denial_is_for_good_after_a_grace(nexus, error):
    Scheduling(nexus).run()
    nexus.spawn(nexus.reconciler().run(timedelta(milliseconds=10)))
    nexus.cluster.outcomes = itertools.repeat(error)
    await nexus.say(nexus.request(1))
    row = await nexus.reaches(run_id(1), lambda run: run.ended, passing=1)
    assert row.stage is Stage.SCHEDULING_FAILED
    assert row.diagnosis.category != "PlacementDeadline"
    assert str(error) in row.diagnosis.cause
    assert row.ended_at - row.denied_since >= timedelta(seconds=DENIED_GRACE)


async def test_a_denial_that_is_mended_within_the_grace_costs_nothing(nexus):
    Scheduling(nexus).run()
    nexus.spawn(nexus.reconciler().run(timedelta(milliseconds=10)))
    nexus.cluster.outcomes = itertools.repeat(Refused(401, "the token has expired"))
    await nexus.say(nexus.request(1))
    await nexus.reaches(run_id(1), lambda run: run.denied_since, passing=1)
    nexus.cluster.outcomes = iter(())
    await placed(nexus, run_id(1), passing=1)


async def test_a_full_quota_is_waited_for(nexus):
    Scheduling(nexus).run()
    nexus.spawn(nexus.reconciler().run(timedelta(milliseconds=10)))
    nexus.cluster.outcomes = itertools.repeat(Refused(403, "forbidden: exceeded quota: jobs"))
    await nexus.say(nexus.request(1))
    row = await nexus.reaches(run_id(1), lambda run: run.deferrals > DENIED_GRACE / PARK_AFTER, passing=1)
    assert not row.ended
    nexus.cluster.outcomes = iter(())
    await placed(nexus, run_id(1), passing=1)


# One Job, whatever happens to its facts


async def test_the_fact_that_a_job_was_made_is_said_again_and_the_job_is_not(nexus):
    """Somebody deletes it before it is in the log: another create would make a second Job."""
    append = nexus.journal.append
    lost = iter([Unavailable("the brokers are away"), OutcomeUnknown("no answer")])

    async def failing(events):
        events = list(events)
        if any(isinstance(event, JobCreated) for event in events) and (error := next(lost, None)):
            if nexus.cluster.jobs:
                nexus.cluster.lose(run_id(1))
            if isinstance(error, OutcomeUnknown):
                await append(events)
            raise error
        await append(events)

    nexus.journal.append = failing
    scheduling = Scheduling(nexus).run()
    await nexus.say(nexus.request(1))
    await nexus.has_said(run_id(1), "JobCreated")
    await scheduling.settled()
    assert len(nexus.cluster.asked) == 1
    assert {fact.job_uid for fact in await nexus.said(RUNS, run_id(1))} == {
        (await nexus.store.get(run_id(1))).job_uid
    }


async def test_a_zombie_creates_while_the_request_is_parked(nexus):
    """The request comes again, and the scheduler that gets it finds the Job that the other one made."""
    Scheduling(nexus).run()
    nexus.cluster.outcomes = itertools.repeat(Refused(503, "closed"))
    await nexus.say(nexus.request(1))
    run = await nexus.reaches(run_id(1), lambda run: run.state is State.PARKED, passing=0.5)
    nexus.cluster.outcomes = iter(())
    zombie = await nexus.cluster.create(MATERIALIZER.job(run.request, "http://payload"))
    nexus.clock.advance(PARK_AFTER + 1)
    await nexus.caught_up()
    await nexus.reconciler().reconcile()
    assert (await placed(nexus, run_id(1))).job_uid == zombie.job.metadata.uid


async def test_a_job_is_said_to_be_on_the_cluster_that_has_it(nexus):
    """Which was made anew under the same name while the scheduler ran."""
    Scheduling(nexus).run()
    await nexus.say(nexus.request(1))
    first = await placed(nexus, run_id(1))
    nexus.cluster.uid = "made anew"
    await nexus.say(nexus.request(2))
    second = await placed(nexus, run_id(2))
    assert (first.cluster_id != "made anew", second.cluster_id) == (True, "made anew")


# The throttle


async def test_the_token_bucket_holds(nexus):
    rate, burst = 10, 5
    Scheduling(nexus, rate=rate, burst=burst).run()
    await nexus.say(*(nexus.request(number) for number in range(25)))
    await nexus.until(lambda: len(nexus.cluster.asked) == burst)
    for asked in range(burst + 1, 26):
        # A token at a time: what a slow machine is late with would be asked together.
        nexus.clock.advance(1 / rate)
        await nexus.until(lambda: len(nexus.cluster.asked) >= asked, passing=0)  # noqa: B023 - awaited here
    times = [at for at, _ in nexus.cluster.asked]
    for first, last in itertools.combinations(range(25), 2):
        seconds = (times[last] - times[first]).total_seconds()
        assert last - first + 1 <= burst + rate * seconds + 1e-3


async def test_what_ends_while_it_waits_for_a_token_is_not_created(nexus, monkeypatch):
    get, looked_at = nexus.store.get, []

    async def seen(request_id):
        looked_at.append(request_id)
        return await get(request_id)

    await nexus.queued(1)
    await nexus.queued(2)
    monkeypatch.setattr(nexus.store, "get", seen)
    scheduling = Scheduling(nexus, rate=2, burst=1).run()
    await nexus.until(lambda: nexus.cluster.placed and set(looked_at) == {run_id(1), run_id(2)}, passing=0)
    [first] = nexus.cluster.placed
    other = run_id(2) if first == run_id(1) else run_id(1)
    await nexus.say(cancelled(request_id=other))
    await nexus.reaches(other, lambda run: run.ended, passing=0)
    nexus.clock.advance(0.6)

    async def consumed() -> bool:
        return await nexus.committed("scheduler", REQUESTS) == await nexus.ends(REQUESTS)

    await nexus.until(consumed, passing=0)
    assert nexus.cluster.placed == [first]
    await scheduling.settled()


async def test_the_pending_window_holds(nexus):
    """No more Jobs than that are pending; each start that is heard makes room for one."""
    nexus.cluster.holds_starts = True
    nexus.start_watcher()
    nexus.start_supervisor()
    scheduling = Scheduling(nexus, pending=4).run()
    await nexus.say(*(nexus.request(number) for number in range(12)))
    for started in range(12):
        expected = min(12, 4 + started)
        await nexus.until(lambda e=expected: len(nexus.cluster.jobs) == e)
        nexus.cluster.start(nexus.cluster.placed[started])
    await nexus.until(lambda: scheduling.pending.pending == 0)
    assert nexus.cluster.most_pending == 4
    assert len(nexus.cluster.asked) == 12
    await scheduling.settled()


async def test_an_end_makes_room_as_well(nexus):
    nexus.cluster.holds_starts = True
    scheduling = Scheduling(nexus, pending=1)
    await nexus.say(*(nexus.request(number) for number in range(3)))
    await filled(scheduling, nexus, 3)
    scheduling.run()
    for number in range(3):
        await placed(nexus, run_id(number))
        await nexus.say(cancelled(request_id=run_id(number)))
    assert nexus.cluster.placed == [run_id(number) for number in range(3)]


async def test_a_run_that_ends_before_its_start_is_heard_counts_as_a_start(nexus):
    """Short runs report first: a cluster that is quick must not look like one that starts nothing."""
    scheduling = Scheduling(nexus, pending=1, ceiling=100)
    await nexus.say(*(nexus.request(number) for number in range(5)))
    await filled(scheduling, nexus, 5)
    scheduling.run()
    for number in range(5):
        await placed(nexus, run_id(number))
        await nexus.say(completed(request_id=run_id(number)))
    await nexus.until(lambda: scheduling.pending.pending == 0)
    assert scheduling.pending.bound == 5


async def test_a_report_under_another_name_makes_no_room_and_takes_none(nexus):
    scheduling = Scheduling(nexus, pending=1)
    await nexus.say(*(nexus.request(number) for number in range(2)))
    await filled(scheduling, nexus, 2)
    scheduling.run()
    await placed(nexus, run_id(0))
    await nexus.say(completed(request_id=run_id(0), algorithm="another"))
    await nexus.say(completed(request_id=run_id(0)))
    await placed(nexus, run_id(1))
    await scheduling.settled()


async def test_a_full_window_stops_the_reading(nexus):
    """What is not admitted stays in the log, and is admitted in the order of its age when there is room."""
    nexus.cluster.holds_starts = True
    nexus.start_watcher()
    nexus.start_supervisor()
    scheduling = Scheduling(nexus, pending=1, window=5, batch=4)
    await nexus.say(*(nexus.request(number) for number in range(60)))
    most = 0

    def full() -> bool:
        nonlocal most
        most = max(most, len(scheduling.window))
        return len(scheduling.window) == 5

    await nexus.until(full)
    await nexus.caught_up()  # a request that had to wait for its row would come back into a full window
    scheduling.run()
    await nexus.until(lambda: nexus.cluster.jobs)
    assert scheduling.taken <= 16  # two batches of both partitions
    nexus.cluster.holds_starts = False
    nexus.cluster.start(nexus.cluster.placed[0])
    await nexus.until(lambda: full() is None or len(nexus.cluster.jobs) == 60)
    assert most == 5
    await scheduling.settled()


async def filled(scheduling: Scheduling, nexus: Installation, size: int) -> None:
    """Everything is in the window before the first is admitted."""
    await nexus.caught_up()
    await nexus.until(lambda: len(scheduling.window) == size)


async def test_the_oldest_goes_first(nexus):
    ages = [5, 3, 9, 1, 7, 2, 8, 0, 6, 4]
    await nexus.say(*(nexus.request(number, at=after(number - 100)) for number in ages))
    scheduling = Scheduling(nexus, in_flight=1)
    await filled(scheduling, nexus, 10)
    scheduling.run()
    await nexus.until(lambda: len(nexus.cluster.jobs) == 10)
    assert nexus.cluster.placed == [run_id(number) for number in sorted(ages)]


async def test_a_flood_of_one_algorithm_leaves_room_for_others(nexus):
    await nexus.say(*(nexus.request(number, algorithm="flood") for number in range(40)))
    await nexus.say(*(nexus.request(number, algorithm="few") for number in range(40, 44)))
    scheduling = Scheduling(nexus, in_flight=1)
    await filled(scheduling, nexus, 44)
    scheduling.run()
    await nexus.until(lambda: len(nexus.cluster.jobs) == 44)
    order = [job["metadata"]["labels"][ALGORITHM] for _, job in nexus.cluster.asked]
    assert order[:8].count("few") == 4
    assert [name for name in nexus.cluster.placed if name < run_id(40)] == [run_id(n) for n in range(40)]


async def test_a_flood_of_one_algorithm_leaves_part_of_the_pending_window(nexus):
    nexus.cluster.holds_starts = True
    await nexus.say(*(nexus.request(number, algorithm="flood") for number in range(20)))
    await nexus.say(*(nexus.request(number, algorithm="few") for number in range(20, 22)))
    scheduling = Scheduling(nexus, pending=4)
    await filled(scheduling, nexus, 22)
    scheduling.run()
    await nexus.until(lambda: len(nexus.cluster.jobs) == 4)
    labels = [job.metadata.labels[ALGORITHM] for job in nexus.cluster.jobs.values()]
    assert sorted(labels) == ["few", "few", "flood", "flood"]


async def test_tenants_have_their_parts_of_the_pending_window_by_weight(nexus):
    nexus.cluster.holds_starts = True
    await nexus.say(*(nexus.request(number, tenant="small") for number in range(20)))
    await nexus.say(*(nexus.request(number, tenant="large", weight=3) for number in range(20, 40)))
    await nexus.say(nexus.request(40, tenant="large", weight=3, algorithm="another"))
    scheduling = Scheduling(nexus, pending=8)
    await filled(scheduling, nexus, 41)
    scheduling.run()
    await nexus.until(lambda: len(nexus.cluster.jobs) == 8)
    large = [name for name in nexus.cluster.jobs if name >= run_id(20)]
    assert len(large) == 6
    assert run_id(40) in large


# Children


PARENT = Parent(request_id=run_id(100), algorithm_name="hello-world")


async def test_a_child_belongs_to_the_job_of_its_living_parent(nexus):
    Scheduling(nexus).run()
    await nexus.say(nexus.request(100))
    parent = await placed(nexus, run_id(100))
    await nexus.say(nexus.request(1, parent=PARENT))
    await placed(nexus, run_id(1))
    [owner] = nexus.cluster.jobs[run_id(1)].metadata.owner_references
    assert (owner.kind, owner.name, owner.uid) == ("Job", parent.id, parent.job_uid)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_a_child_ends_with_a_parent_that_was_cancelled(nexus, policy):
    await nexus.queued(100)
    await nexus.queued(1, parent=PARENT)
    await nexus.say(cancelled(request_id=run_id(100), policy=policy))
    await nexus.reaches(run_id(100), lambda run: run.ended)
    scheduling = Scheduling(nexus).run()
    row = await nexus.reaches(run_id(1), lambda run: run.ended)
    assert (row.stage, row.cancellation_policy) == (Stage.CANCELLED, policy)
    assert run_id(100) in row.diagnosis.details
    assert nexus.cluster.asked == []
    await scheduling.settled()


async def test_a_child_of_a_parent_whose_job_is_gone_has_no_owner(nexus):
    """Nobody has told of that yet; the cluster would collect a Job whose owner it does not know."""
    Scheduling(nexus).run()
    await nexus.say(nexus.request(100))
    await placed(nexus, run_id(100))
    nexus.cluster.lose(run_id(100))
    await nexus.say(nexus.request(1, parent=PARENT))
    await placed(nexus, run_id(1))
    assert nexus.cluster.jobs[run_id(1)].metadata.owner_references == ()


async def test_a_child_of_a_queued_parent_has_no_owner(nexus):
    """The parent waits for another cluster, so there is no Job that could own the child's."""
    await nexus.queued(100, cluster=ELSEWHERE)
    Scheduling(nexus).run()
    await nexus.say(nexus.request(1, parent=PARENT))
    await placed(nexus, run_id(1))
    assert nexus.cluster.jobs[run_id(1)].metadata.owner_references == ()


@pytest.mark.parametrize(
    "end",
    [cancelled(request_id=run_id(100), policy="Orphan"), completed(request_id=run_id(100))],
    ids=["orphaned", "completed"],
)
async def test_a_child_outlives_a_parent_that_leaves_it(nexus, end):
    Scheduling(nexus).run()
    await nexus.say(nexus.request(100))
    await placed(nexus, run_id(100))
    await nexus.say(end)
    await nexus.reaches(run_id(100), lambda run: run.ended)
    await nexus.say(nexus.request(1, parent=PARENT))
    await placed(nexus, run_id(1))
    assert nexus.cluster.jobs[run_id(1)].metadata.owner_references == ()


# Whatever happens


@pytest.mark.parametrize("seed", range(3))
async def test_every_run_is_placed_once_on_a_bad_day(nexus, seed):
    """Refusals, lost answers, and schedulers that die: each run has one Job, whose creation was said."""
    import random

    chance = random.Random(seed)
    bad: list[NexusError] = [
        Refused(429, "slow down"),
        Refused(500, "etcd"),
        Unavailable("no route"),
        OutcomeUnknown("no answer"),
    ]
    nexus.cluster.outcomes = iter([chance.choice([*bad, None, None, None]) for _ in range(60)])
    ids = [run_id(number) for number in range(25)]
    await nexus.say(*(nexus.request(number) for number in range(25)))
    for asked in (5, 15, 25):
        scheduling = Scheduling(nexus, in_flight=3).run()
        await nexus.until(lambda a=asked: len(nexus.cluster.asked) >= a, passing=0.05)
        await scheduling.stop()
    scheduling = Scheduling(nexus, in_flight=3).run()
    for run in ids:
        row = await placed(nexus, run, passing=0.05)
        assert row.job_uid == nexus.cluster.jobs[run].metadata.uid
        created = [fact for fact in await nexus.said(RUNS, run) if isinstance(fact, JobCreated)]
        assert {fact.job_uid for fact in created} == {row.job_uid}
    assert set(nexus.cluster.jobs) == set(ids)
    assert nexus.cluster.name == CLUSTER
    await nexus.consumed("scheduler", REQUESTS)


# What is wrong with a request itself


@pytest.mark.parametrize(
    "spec",
    [
        algorithm(runtimeEnvironment={"storageMounts": {"claim": {"mountPath": "/data"}}}),
        algorithm(computeResources={"limits": {"cpu": "much"}}),
    ],
    ids=["a mount without a name", "a limit that is none"],
)
async def test_a_request_that_no_job_can_be_made_of_ends_with_the_reason(nexus, spec):
    """One that an earlier release accepted: no other attempt would find anything else."""
    scheduling = Scheduling(nexus).run()
    await nexus.say(nexus.request(1, spec=spec), nexus.request(2))
    row = await nexus.reaches(run_id(1), lambda run: run.ended)
    assert row.stage is Stage.SCHEDULING_FAILED
    assert "no Job can be made of the request" in row.diagnosis.cause or "much" in row.diagnosis.cause
    await placed(nexus, run_id(2))
    await scheduling.settled()
    assert nexus.cluster.placed == [run_id(2)]


@pytest.mark.parametrize("kept", ["0s", "", "soon"])
async def test_a_request_that_is_kept_with_no_duration_is_placed_all_the_same(nexus, kept):
    scheduling = Scheduling(nexus).run()
    await nexus.say(nexus.request(1, payload_valid_for=kept))
    await placed(nexus, run_id(1))
    await scheduling.settled()
