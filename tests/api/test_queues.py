"""How many runs of a tenant may wait."""

from __future__ import annotations

import pytest

from api.queues import Queues
from nexus.domain.access import REST, Tenant
from nexus.domain.errors import LimitReached
from nexus.domain.figures import Figures
from tests.api.test_access import ADMIN, MINE, RULES, TEAM, Guarded

LIMITED = Tenant(name="limited", subjects=("*",), max_queued=5)


async def tell(installation, waiting, *, source="scheduler/a", cluster="standalone"):
    at = installation.clock()
    told = Figures(cluster=cluster, source=source, at=at, queued_by={"limited": waiting, "": 100})
    await installation.store.note_figures([told])


async def admitted(queues, tenant=LIMITED, most=100):
    """How many submissions are taken until one is not."""
    for number in range(most):
        try:
            await queues.admit(tenant)
        except LimitReached:
            return number
    return most


async def test_what_the_schedulers_tell_and_what_was_accepted_since_counts(installation):
    await tell(installation, 2)
    await tell(installation, 1, source="scheduler/b")
    queues = Queues(installation.store, installation.clock)
    installation.clock.advance(1)
    assert await admitted(queues) == 2
    await tell(installation, 0)
    installation.clock.advance(1)
    assert await admitted(queues) == 2, "the other scheduler told before they were accepted"
    await tell(installation, 4)
    await tell(installation, 0, source="scheduler/b")
    installation.clock.advance(1)
    assert await admitted(queues) == 1


async def test_schedulers_that_are_gone_do_not_count(installation):
    await tell(installation, 50)
    installation.clock.advance(31)
    queues = Queues(installation.store, installation.clock)
    assert await admitted(queues) == 5


async def test_tenants_without_a_limit_are_not_counted(installation):
    await tell(installation, 50)
    assert await admitted(Queues(installation.store, installation.clock), REST) == 100


async def test_the_refusal_names_the_limit(installation):
    await tell(installation, 5)
    with pytest.raises(LimitReached, match="tenant 'limited' has reached its limit maxQueued: 5 "):
        await Queues(installation.store, installation.clock).admit(LIMITED)


async def test_a_submission_too_many_is_refused_and_others_are_taken(installation, tmp_path):
    tenants = [{"name": "few", "subjects": ["group:routing"], "maxQueued": 2}]
    guarded = Guarded(installation, tmp_path, RULES | {"tenants": tenants})
    for _ in range(2):
        await guarded.submits(TEAM, MINE)
    answer = await guarded.ask(TEAM, f"POST /algorithm/v1/run/{MINE}", json={"algorithmParameters": {}})
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, "text/plain; charset=utf-8")
    assert "'few' has reached its limit maxQueued: 2" in answer.text
    assert answer.headers["Retry-After"] == "5"
    await guarded.submits(ADMIN, MINE)
    await guarded.close()
