"""A cordoned cluster is given nothing, and what waits for it goes on when it is uncordoned."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from nexus.cordons import Cordons
from nexus.domain.errors import Unavailable
from nexus.domain.events import ClusterCordoned, ClusterUncordoned
from nexus.domain.topics import CLUSTERS
from tests.streams.conftest import Installation, run_id
from tests.support.factories import CLUSTER


def cordoned(installation: Installation, cluster: str = CLUSTER, **fields: str) -> ClusterCordoned:
    return ClusterCordoned(cluster=cluster, at=installation.clock(), **fields)


def uncordoned(installation: Installation) -> ClusterUncordoned:
    return ClusterUncordoned(cluster=CLUSTER, at=installation.clock())


async def test_the_events_of_each_cluster_are_folded_in_their_order(installation: Installation):
    cordons = Cordons(installation.log, installation.clock.monotonic)
    assert cordons.hold(CLUSTER)  # nothing is known yet
    await cordons.refresh()
    assert not cordons.hold(CLUSTER)
    first = cordoned(installation, reason="why not")
    await installation.say(first, cordoned(installation), cordoned(installation, "other"))
    await cordons.refresh()
    assert cordons.hold(CLUSTER)
    assert cordons.standing[CLUSTER].since == first.at
    assert "is cordoned since" in str(cordons.standing[CLUSTER])
    await installation.say(uncordoned(installation))
    await cordons.refresh()
    assert not cordons.hold(CLUSTER)
    assert cordons.hold("other")
    again = Cordons(installation.log, installation.clock.monotonic)
    await again.refresh()
    assert again.standing == cordons.standing


async def test_what_is_damaged_is_passed_over(installation: Installation):
    await installation.append(CLUSTERS, CLUSTER, b"{", ce_type="nexus.ClusterCordoned.v1", ce_id="1")
    await installation.say(cordoned(installation))
    cordons = Cordons(installation.log, installation.clock.monotonic)
    await cordons.refresh()
    assert list(cordons.standing) == [CLUSTER]


async def test_what_was_read_long_ago_is_no_knowledge(installation: Installation, monkeypatch):
    cordons = Cordons(installation.log, installation.clock.monotonic)
    await cordons.refresh()
    assert not cordons.hold(CLUSTER)

    async def away(*_: object) -> None:
        raise Unavailable("the log is away")

    monkeypatch.setattr(installation.log, "read", away)
    following = installation.spawn(cordons.follow())
    await asyncio.sleep(0)
    installation.clock.advance(11)
    assert cordons.hold(CLUSTER)
    with pytest.raises(Unavailable):
        await cordons.refresh()
    monkeypatch.undo()
    await cordons.refresh()
    assert not cordons.hold(CLUSTER)
    await installation.stop(following)


async def test_a_run_that_waits_for_a_cordoned_cluster_for_too_long_says_so(installation: Installation):
    installation.start_ledger()
    cordons = Cordons(installation.log, installation.clock.monotonic)
    await installation.say(cordoned(installation, reason="an upgrade"))
    await cordons.refresh()
    deadline = installation.clock() + timedelta(seconds=5)
    await installation.queued(1, placement_deadline=deadline)
    installation.clock.advance(60)
    await installation.caught_up()
    await installation.reconciler(cordons=lambda: cordons.standing).reconcile()
    row = await installation.reaches(run_id(1), lambda run: run.ended)
    assert "(an upgrade)" in row.diagnosis.details
    assert f"`nexus clusters uncordon {CLUSTER}`" in row.diagnosis.details
