"""What an API server says to the Job of a template and its workgroup, asked in advance."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexus.domain.errors import InvalidInput, Refused
from nexus.domain.job import Materializer
from nexus.domain.manifest import read_template, read_workgroup
from nexus.domain.template import Template, Workgroup, algorithm_spec, workgroup_spec
from nexus.domain.verdict import is_certain, sample
from nexus.kubernetes.cluster import KubernetesCluster
from tests.support.kube import Namespace

CASES = yaml.safe_load(Path(__file__).with_name("refused.yaml").read_text())
TEMPLATE = {
    "container": {"image": "a", "registry": "registry.example.com", "versionTag": "1"},
    "command": "python main.py",
    "args": ["--sas-uri=%s", "--request-id=%s"],
    "computeResources": {"limits": {"cpu": "1", "memory": "256Mi"}},
    "workgroupRef": {"name": "wg"},
    "runtimeEnvironment": {"deadlineSeconds": 60, "maximumRetries": 1},
    "errorHandlingBehaviour": {"transientExitCodes": [75], "fatalExitCodes": [42]},
}
WORKGROUP = {"description": "d", "cluster": "real"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(template: Mapping[str, Any], workgroup: Mapping[str, Any]) -> dict[str, Any]:
    """As it would be made of these, whether they pass our rules or not."""
    request = sample(
        Template("alg", algorithm_spec(template, "spec")),
        Workgroup("wg", workgroup_spec(workgroup, "spec")),
        NOW,
    )
    return Materializer("tests", "1.0", timedelta(days=7)).job(request, "http://payload.invalid/")


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    return {**base, **change}


@pytest.fixture
def cluster(there: Namespace) -> KubernetesCluster:
    return KubernetesCluster("real", there.connection, there.name)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_what_it_refuses_is_refused_at_submit(cluster: KubernetesCluster, case: dict[str, Any]) -> None:
    """By a rule of ours, or else by its verdict."""
    template = merged(TEMPLATE, case.get("template", {}))
    annotations = template["runtimeEnvironment"].get("annotations", {})
    if annotations.get("a") == "(300000 characters)":
        annotations["a"] = "x" * 300_000
    workgroup = merged(WORKGROUP, case.get("workgroup", {}))
    with pytest.raises(Refused) as refused:
        await cluster.judge(job(template, workgroup))
    assert is_certain(refused.value)
    assert case["says"] in refused.value.reason
    broken = []
    for read, spec in ((read_template, template), (read_workgroup, workgroup)):
        try:
            read("alg", spec)
        except InvalidInput as error:
            broken.append(str(error))
    assert [case["rule"] in problem for problem in broken] == ([True] if "rule" in case else [])


TAKEN = {
    "annotation key in capitals": {"runtimeEnvironment": {"annotations": {"Example.com/c": "x"}}},
    "whole devices": {"computeResources": {"customResources": {"nvidia.com/gpu": "2000m"}}},
    "huge pages": {"computeResources": {"limits": {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "4Mi"}}},
    "a variable of the pod": {
        "runtimeEnvironment": {
            "environmentVariables": [
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "B.c-d", "value": ""},
            ]
        }
    },
    "a part of a volume": {
        "runtimeEnvironment": {
            "configurationFileMounts": {
                "cm": {"name": "v", "mountPath": "/x", "subPath": "a/..b", "readOnly": True}
            }
        }
    },
}


@pytest.mark.parametrize("members", TAKEN.values(), ids=TAKEN.keys())
async def test_what_it_takes_passes(cluster: KubernetesCluster, members: dict[str, Any]) -> None:
    template = merged(TEMPLATE, members)
    await cluster.judge(job(template, WORKGROUP))
    read_template("alg", template)


async def test_a_quota_is_no_verdict(cluster: KubernetesCluster, there: Namespace) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    await there.call("POST", "/api/v1/namespaces/{}/resourcequotas", quota)
    status = "/api/v1/namespaces/{}/resourcequotas/none/status"
    hard = {"hard": {"count/jobs.batch": "0"}, "used": {"count/jobs.batch": "0"}}
    await there.call("PATCH", status, {"status": hard}, "merge-patch+json")
    async with asyncio.timeout(30):  # its admission learns of a quota by a watch
        while (refused := await verdict(cluster)) is None:
            await asyncio.sleep(0.05)
    assert "exceeded quota" in refused.reason
    assert not is_certain(refused)


async def verdict(cluster: KubernetesCluster) -> Refused | None:
    try:
        await cluster.judge(job(TEMPLATE, WORKGROUP))
    except Refused as error:
        return error
    return None


async def test_nothing_is_made(cluster: KubernetesCluster, there: Namespace) -> None:
    manifest = job(TEMPLATE, WORKGROUP)
    for _ in range(2):
        await cluster.judge(manifest)
    assert await cluster.get(manifest["metadata"]["name"]) is None
    assert (await cluster.version()).startswith("v1.")
