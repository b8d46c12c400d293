"""The charts on the real API server: everything is accepted, runs, and stays as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.helm.installed import Release
from tests.helm.test_chart import EVERYTHING
from tests.support.helm import CRDS, SHAPES, Helm

OPERATORS = {
    "scaledobjects": ("keda.sh", "v1alpha1", "ScaledObject"),
    "servicemonitors": ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    "prometheusrules": ("monitoring.coreos.com", "v1", "PrometheusRule"),
}


@pytest.mark.parametrize("mode", SHAPES)
def test_every_deployment_is_available(releases: Mapping[str, Release], mode):
    release = releases[mode]
    found = json.loads(release.kubectl("get", "deployments", "-n", release.namespace, "-o", "json"))["items"]
    ready = {one["metadata"]["name"]: one["status"].get("availableReplicas", 0) for one in found}
    assert ready == dict.fromkeys(ready, 2)
    assert len(ready) >= 3
    assert "kubectl --namespace" in release.said


@pytest.mark.parametrize("mode", SHAPES)
def test_two_upgrades_change_nothing(releases: Mapping[str, Release], mode):
    release = releases[mode]
    before = release.there()
    for _ in range(2):
        release.upgrade()
        assert release.there() == before
    assert any(name.startswith("Deployment/") for name in before)


def test_the_sign_key_outlives_the_release(releases: Mapping[str, Release]):
    """What was signed before is to be read after; whoever takes a release away by mistake loses nothing."""
    release = releases["single"]
    secret = yaml.safe_load(
        release.kubectl("get", "secret", "nexus-sign-key", "-n", release.namespace, "-o", "yaml")
    )
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("mode", SHAPES)
def test_every_object_is_accepted_to_the_letter(helm: Helm, releases: Mapping[str, Release], mode, operators):
    """With all that can be turned on; an unknown field or a wrong type is refused."""
    release = releases[mode]
    documents = helm.template(SHAPES[mode] | EVERYTHING, release.namespace)
    written = yaml.safe_dump_all(documents)
    flags = ("--dry-run=server", "--validate=strict", "--server-side", "--force-conflicts")
    accepted = release.kubectl("apply", "-n", release.namespace, *flags, "-f", "-", given=written)
    assert len(accepted.splitlines()) == len(documents)


def test_the_definitions_are_upgraded_without_a_change(helm: Helm, releases: Mapping[str, Release]):
    kubeconfig = releases["single"].kubeconfig
    names = [found["metadata"]["name"] for found in yaml.safe_load_all(helm.must("template", "crd", CRDS))]

    def generations() -> list[int]:
        found = json.loads(helm.kubectl(kubeconfig, "get", "crd", *names, "-o", "json"))["items"]
        return [one["metadata"]["generation"] for one in found]

    before = generations()
    helm.must("upgrade", "nexus-crd", CRDS, kubeconfig=kubeconfig)
    assert generations() == before


@pytest.fixture(scope="module")
def operators(helm: Helm, kubernetes_server: Path):
    """The kinds of KEDA and of the Prometheus operator, which take whatever is in them."""
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definitions = yaml.safe_dump_all(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural},
                "versions": [{"name": version, "served": True, "storage": True, "schema": anything}],
            },
        }
        for plural, (group, version, kind) in OPERATORS.items()
    )
    helm.kubectl(kubernetes_server, "apply", "-f", "-", given=definitions)
    names = [f"crd/{plural}.{group}" for plural, (group, _, _) in OPERATORS.items()]
    helm.kubectl(kubernetes_server, "wait", "--for=condition=Established", *names)
    yield
    helm.kubectl(kubernetes_server, "delete", "-f", "-", given=definitions)
