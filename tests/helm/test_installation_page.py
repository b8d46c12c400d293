"""docs/installation.md, followed as it is printed, but for the names of namespaces."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.services.kubernetes.build import programs
from nexus.kubernetes.cluster import KubernetesCluster
from nexus.kubernetes.connection import Connection
from nexus.kubernetes.credentials import from_kubeconfig
from nexus.kubernetes.objects import KubernetesObjects
from tests.helm.installed import Release
from tests.support.helm import CHART, Helm
from tests.support.kube import namespace

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/installation.md").read_text()


def blocks(section: str) -> list[str]:
    """The commands of a section of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def follow(block: str, kubeconfig: Path, there: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.replace("--namespace nexus", f"--namespace {there}")],
        env=os.environ | {"KUBECONFIG": str(kubeconfig), "PATH": f"{programs()}:{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout


async def test_one_cluster(helm: Helm, kubernetes_server: Path):
    async with namespace(kubernetes_server) as there:
        try:
            said = [follow(block, kubernetes_server, there.name, ROOT) for block in blocks("One cluster")]
        finally:
            helm.must(
                "uninstall", "nexus", "-n", there.name, "--ignore-not-found", kubeconfig=kubernetes_server
            )
        assert "secret/nexus-cassandra created" in said[1]
        assert said[2].count("condition met") == 6
        assert "nexusalgorithmtemplate.science.sneaksanddata.com/hello created" in said[3]


async def test_the_kubeconfigs_of_a_shard(releases: Mapping[str, Release], tmp_path):
    """They let in whom they are for, and work as entries of the Secrets."""
    shard = releases["shard"]
    [script] = [block for block in blocks("Several clusters") if "set-credentials" in block]
    follow(script, shard.kubeconfig, shard.namespace, tmp_path)
    for account in ("scheduler", "controller"):
        connection = Connection("eu", from_kubeconfig(tmp_path / f"eu.{account}"))
        await connection.open()
        if account == "scheduler":
            cluster = KubernetesCluster("eu", connection, shard.namespace)
            assert await cluster.identity()
            assert await cluster.get("none") is None
        else:
            assert await KubernetesObjects("eu", connection, shard.namespace).identity()
        await connection.close()


@pytest.mark.parametrize("section", ["One cluster", "Several clusters"])
def test_every_installation_renders(helm: Helm, section):
    found = [
        command
        for block in blocks(section)
        for command in re.split(r"\n(?=helm|kubectl|for)", block)
        if command.startswith("helm") and "infra/helm/nexus " in command
    ]
    assert found
    for command in found:
        words = shlex.split(command.replace("\\\n", " "))
        flags = words[words.index("infra/helm/nexus") + 1 :]
        assert "kind: Deployment" in helm.must("template", "nexus", CHART, *flags)
