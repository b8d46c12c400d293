"""Which files of a folder are kubeconfigs, and of which clusters."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack

import pytest

from nexus.composition.engines import Engines
from nexus.config import load
from nexus.domain.errors import ConfigError
from nexus.kubernetes.shards import of_custom_resources, shards


def configured(folder, **more):
    return load(None, {"NEXUS__KUBERNETES__KUBECONFIG": str(folder), **more})


@pytest.fixture
def mounted(tmp_path):
    """Keys as a mounted Secret shows them: links through a hidden folder."""

    def mount(*keys):
        (tmp_path / "..2026_11_27").mkdir()
        (tmp_path / "..data").symlink_to("..2026_11_27")
        for key in keys:
            (tmp_path / "..2026_11_27" / key).write_text("{}")
            (tmp_path / key).symlink_to(f"..data/{key}")
        return tmp_path

    return mount


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("eu.kubeconfig", "eu"),
        ("eu.west.kubeconfig", "eu"),
        ("nexus-worker-cluster", "nexus-worker-cluster"),
        ("eu.json", "eu"),
    ],
)
def test_a_key_of_the_secret_names_a_cluster(mounted, key, name):
    assert list(shards(configured(mounted(key)))) == [name]


def test_what_a_kubeconfig_may_name_beside_itself_is_none(mounted):
    folder = mounted("eu.kubeconfig", "ca.crt", "client.key", "README.md")
    (folder / "certificates").mkdir()
    assert list(shards(configured(folder))) == ["eu"]


def test_two_files_for_one_cluster_are_named(mounted):
    with pytest.raises(ConfigError, match=r"eu\.kubeconfig names a second cluster 'eu': rename the file"):
        shards(configured(mounted("eu", "eu.kubeconfig")))


def test_a_folder_without_any_is_named(mounted):
    with pytest.raises(ConfigError, match=r"has no <cluster>\.kubeconfig file"):
        shards(configured(mounted("ca.crt")))


def test_clusters_of_a_folder_are_beside_the_one_that_nexus_runs_in(mounted):
    inside = {"NEXUS__KUBERNETES__IN_CLUSTER": "true"}
    folder = mounted()
    assert list(shards(configured(folder, **inside))) == ["standalone"]
    (folder / "nexus-worker-cluster").write_text("{}")
    assert list(shards(configured(folder, **inside))) == ["standalone", "nexus-worker-cluster"]


def test_custom_resources_may_be_of_a_cluster_that_runs_nothing(mounted):
    folder = mounted("eu.kubeconfig")
    assert of_custom_resources(configured(folder)) is None
    assert of_custom_resources(configured(folder, NEXUS__TEMPLATES__IN_CLUSTER="true"))
    assert of_custom_resources(configured(folder, NEXUS__KUBE_CONFIG_PATH=str(folder / "eu.kubeconfig")))


def swap(folder, *keys):
    """As the kubelet does it: a new folder, then the one link, then links that have nothing to point to."""
    fresh = folder / f"..{uuid.uuid4().hex}"
    fresh.mkdir()
    for key in keys:
        (fresh / key).write_text("{}")
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").rename(folder / "..data")
    for key in keys:
        if not (folder / key).is_symlink():
            (folder / key).symlink_to(f"..data/{key}")
    for link in folder.iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()


async def test_a_mounted_secret_is_followed(mounted):
    folder = mounted("eu.kubeconfig", "us.kubeconfig")
    async with AsyncExitStack() as stack:
        engines = Engines(configured(folder, NEXUS__KUBERNETES__REMOVED="gone"), None, stack)
        clusters = await engines.clusters()
        assert list(clusters) == engines.cluster_names() == ["eu", "us"]
        eu = clusters["eu"]
        swap(folder, "eu.kubeconfig", "ap.json", "ap.kubeconfig", "gone.kubeconfig", "ca.crt")
        engines.fleet.look()
        assert list(clusters) == engines.cluster_names() == ["ap", "eu"]
        assert clusters["eu"] is eu
        second, removed = engines.fleet.problems
        assert "ap.kubeconfig names a second cluster 'ap': rename the file" in second
        assert "kubernetes.removed names gone, which is configured as well: take" in removed
        swap(folder)
        engines.fleet.look()
        assert list(clusters) == engines.cluster_names() == engines.fleet.problems == []
        assert engines.every_cluster() == ["gone"]


async def test_a_folder_that_is_not_mounted_takes_no_cluster_away(mounted, tmp_path):
    folder = mounted("eu.kubeconfig")
    engines = Engines(configured(folder), None, AsyncExitStack())
    folder.rename(tmp_path.with_name("elsewhere"))
    engines.fleet.look()
    assert engines.cluster_names() == ["eu"]
    [problem] = engines.fleet.problems
    assert problem.endswith("cannot be read: see whether it is mounted")
