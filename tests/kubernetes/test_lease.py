"""Of many that could lead one does, and it has stopped before another begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from nexus.kubernetes.connection import Connection
from nexus.kubernetes.lease import Lease
from tests.contract.clusters import until
from tests.kubernetes.conftest import Disturbed
from tests.support.kube import Namespace

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
LEASE = f"{LEASES}/nexus-watcher"

Work = Callable[[int], Coroutine[Any, Any, None]]


def lease(connection: Connection, namespace: str, holder: str, duration: int = 15) -> Lease:
    return Lease(
        connection,
        namespace,
        "nexus-watcher",
        holder=holder,
        clock=lambda: datetime.now(UTC),
        duration=duration,
    )


class Stage:
    """Who works, in which term; at most one at a time."""

    def __init__(self) -> None:
        self.working: list[str] = []
        self.terms: list[tuple[str, int]] = []

    def work(self, holder: str, slow_to_stop: float = 0) -> Work:
        async def work(term: int) -> None:
            assert not self.working
            self.working.append(holder)
            self.terms.append((holder, term))
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(slow_to_stop)
                self.working.remove(holder)

        return work

    def led_by(self, holder: str) -> Callable[[], Coroutine[Any, Any, bool]]:
        async def look() -> bool:
            return self.working == [holder]

        return look

    async def empty(self) -> bool:
        return not self.working


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_one_leads_and_another_follows_at_once(there: Namespace) -> None:
    stage = Stage()
    tasks = {}
    for holder in ("a", "b", "c"):
        lead = lease(there.connection, there.name, holder).lead(stage.work(holder, slow_to_stop=0.1))
        tasks[holder] = asyncio.create_task(lead)
    order = []
    while tasks:

        async def somebody() -> list[str]:
            return stage.working

        (leader,) = await until(somebody, seconds=10)  # well within the duration
        order.append(leader)
        await stop(tasks.pop(leader))
        assert await stage.empty()
    assert sorted(order) == ["a", "b", "c"]
    assert [term for _, term in stage.terms] == [1, 2, 3]
    released = await there.call("GET", LEASE)
    assert "holderIdentity" not in released["spec"]


async def test_a_holder_that_died_is_waited_for_until_its_lease_ran_out(there: Namespace) -> None:
    dead = {
        "holderIdentity": "dead",
        "leaseDurationSeconds": 2,
        # By its own clock it is valid for long; nobody believes clocks.
        "renewTime": "2100-01-01T00:00:00.000000Z",
        "leaseTransitions": 7,
    }
    await there.call("POST", LEASES, {"metadata": {"name": "nexus-watcher"}, "spec": dead})
    stage = Stage()
    began = asyncio.get_running_loop().time()
    leading = asyncio.create_task(lease(there.connection, there.name, "a", 2).lead(stage.work("a")))
    await until(stage.led_by("a"))
    assert asyncio.get_running_loop().time() - began >= 2
    assert stage.terms == [("a", 8)]
    await stop(leading)


async def test_a_lease_is_renewed_for_as_long_as_the_work_goes_on(there: Namespace) -> None:
    stage = Stage()
    first = asyncio.create_task(lease(there.connection, there.name, "a", 2).lead(stage.work("a")))
    await until(stage.led_by("a"))
    second = asyncio.create_task(lease(there.connection, there.name, "b", 2).lead(stage.work("b")))

    async def renewed() -> bool:
        spec = (await there.call("GET", LEASE))["spec"]
        times = [datetime.fromisoformat(spec[key]) for key in ("renewTime", "acquireTime")]
        return (times[0] - times[1]).total_seconds() > 3

    await until(renewed)
    assert stage.terms == [("a", 1)]
    await stop(second, first)


async def test_who_lost_the_lease_stops_and_waits(there: Namespace) -> None:
    stage = Stage()
    leading = asyncio.create_task(lease(there.connection, there.name, "a", 2).lead(stage.work("a")))
    await until(stage.led_by("a"))
    spec = {"holderIdentity": "usurper", "leaseDurationSeconds": 2, "leaseTransitions": 2}
    await there.merge(LEASE, {"spec": spec})
    await until(stage.empty)
    await until(stage.led_by("a"))  # the usurper never renews
    assert stage.terms == [("a", 1), ("a", 3)]
    await stop(leading)


async def test_who_cannot_renew_has_stopped_before_another_begins(
    there: Namespace, disturbed: Disturbed
) -> None:
    stage = Stage()
    cut_off = lease(disturbed.connection, there.name, "cut off", 3)
    first = asyncio.create_task(cut_off.lead(stage.work("cut off", slow_to_stop=0.2)))
    await until(stage.led_by("cut off"))
    second = asyncio.create_task(lease(there.connection, there.name, "b", 3).lead(stage.work("b")))
    disturbed.relay.silent = True
    await until(stage.led_by("b"))  # `work` asserts that nobody else is at it
    assert stage.terms == [("cut off", 1), ("b", 2)]
    await stop(second, first)


async def test_an_answer_that_is_lost_does_not_lose_the_lease(there: Namespace, disturbed: Disturbed) -> None:
    stage = Stage()
    leading = asyncio.create_task(lease(disturbed.connection, there.name, "a", 5).lead(stage.work("a")))
    await until(stage.led_by("a"))

    async def version() -> str:
        return str((await there.call("GET", LEASE))["metadata"]["resourceVersion"])

    disturbed.relay.silent = True
    before = await version()

    async def written() -> bool:
        return await version() != before

    await until(written)
    disturbed.relay.cut()
    disturbed.relay.silent = False
    before = await version()
    await until(written)
    assert stage.terms == [("a", 1)]
    await stop(leading)


async def test_work_that_returns_or_fails_ends_the_lead(there: Namespace) -> None:
    done = []

    async def work(term: int) -> None:
        done.append(term)
        if term == 2:
            raise ValueError("no")

    await lease(there.connection, there.name, "a").lead(work)
    with pytest.raises(ValueError, match="no"):
        await lease(there.connection, there.name, "b").lead(work)
    assert done == [1, 2]
