"""What is told of clusters, and that one is cordoned by an event in the log."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nexus.domain.figures import Figures
from nexus.domain.reachability import Contact
from nexus.domain.topics import CLUSTERS
from tests.api.conftest import Api
from tests.support.factories import CLUSTER


async def told(api: Api, name: str = CLUSTER) -> dict[str, object]:
    answer = await api.http.get("/api/v1/clusters")
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["clusters"]}[name]


async def test_a_cluster_that_nobody_told_of_has_no_figures(api: Api):
    cluster = await told(api)
    assert cluster.pop("problem") == "it has never answered: /readyz of its scheduler says why"
    assert {name for name, value in cluster.items() if value} == {"name", "state"}
    assert (cluster["state"], cluster["running"], cluster["queued"]) == ("unreachable", 0, None)


async def test_figures_are_those_of_all_who_serve_it_and_of_now(api: Api):
    store, now = api.installation.store, api.installation.clock()
    await store.note_contacts([Contact(CLUSTER, "uid-1", now)])
    common = {"cluster": CLUSTER, "at": now, "pending": 1, "window": 8, "rate": 2.5}
    first = Figures(
        source="scheduler/a", queued=3, oldest=now - timedelta(seconds=60), nexus=("1",), **common
    )
    other = Figures(source="scheduler/b", queued=4, nexus=("2",), kubernetes="v1.37.2", **common)
    stale = Figures(source="scheduler/c", queued=90, cluster=CLUSTER, at=now - timedelta(minutes=5))
    await store.note_figures([first, other, stale])
    cluster = await told(api)
    assert 60 <= cluster.pop("lag") < 61
    assert cluster == {
        "name": CLUSTER,
        "state": "ready",
        "identity": "uid-1",
        "heardAt": cluster["heardAt"],
        "problem": "",
        "cordon": None,
        "queued": 7,
        "pending": 2,
        "window": 16,
        "rate": 5.0,
        "running": 0,
        "kubernetes": "v1.37.2",
        "nexus": ["1", "2"],
    }


async def test_a_cluster_that_is_another_one_says_so(api: Api):
    store, now = api.installation.store, api.installation.clock()
    await store.note_contacts([Contact(CLUSTER, "uid-1", now - timedelta(hours=1))])
    assert "it does not answer" in (await told(api))["problem"]
    await store.note_contacts([Contact(CLUSTER, "uid-2", now), Contact("gone", "uid-2", now)])
    cluster = await told(api)
    assert (cluster["state"], cluster["identity"]) == ("ready", "uid-2")
    assert "another cluster (uid-1) answered under its name until" in cluster["problem"]
    assert (await told(api, "gone"))["state"] == "absent"


async def test_two_kubeconfigs_of_one_cluster_are_named(installation, tmp_path):
    api = Api(installation, tmp_path, clusters={CLUSTER, "twin"})
    now = installation.clock()
    await installation.store.note_contacts([Contact(CLUSTER, "uid-1", now), Contact("twin", "uid-1", now)])
    assert (await told(api, "twin"))["problem"] == (
        f"it is the cluster {CLUSTER} as well: take one of the kubeconfigs away"
    )
    await api.close()


async def test_a_cordon_is_an_event_and_the_first_one_stands(api: Api):
    path = f"/api/v1/clusters/{CLUSTER}"
    await api.installation.store.note_contacts([Contact(CLUSTER, "uid-1", api.installation.clock())])
    first = await api.http.post(f"{path}/cordon", json={"reason": "an upgrade"})
    assert (first.status_code, first.json()["reason"]) == (200, "an upgrade")
    again = await api.http.post(f"{path}/cordon", json={"reason": "another"})
    assert again.json() == first.json()
    cluster = await told(api)
    assert (cluster["state"], cluster["cordon"]) == ("cordoned", first.json())
    assert (await api.http.post(f"{path}/uncordon")).status_code == 204
    assert (await told(api))["cordon"] is None
    events = [(type(each).__name__, each.cluster) for each in await api.installation.said(CLUSTERS)]
    assert events == [
        ("ClusterCordoned", CLUSTER),
        ("ClusterCordoned", CLUSTER),
        ("ClusterUncordoned", CLUSTER),
    ]


@pytest.mark.parametrize("what", ["cordon", "uncordon"])
async def test_only_a_cluster_that_is_there_is_cordoned(api: Api, what: str):
    unknown = await api.http.post(f"/api/v1/clusters/nowhere/{what}", json={})
    assert unknown.status_code == 404
    assert unknown.json()["detail"] == (
        f"there is no cluster 'nowhere': those that are configured are {CLUSTER}"
    )
    bad = await api.http.post(f"/api/v1/clusters/{CLUSTER}/{what}", content=b'{"reason": 1}')
    assert bad.status_code == 400
    long = await api.http.post(f"/api/v1/clusters/{CLUSTER}/{what}", json={"reason": "x" * 10_000})
    assert (long.status_code, "reason" in long.json()["detail"]) == (400, True)
    assert await api.installation.said(CLUSTERS) == []
