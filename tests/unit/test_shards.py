"""Which files of a folder are kubeconfigs, and of which clusters."""

from __future__ import annotations

import pytest

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
