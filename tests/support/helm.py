"""The charts, rendered and installed by the real Helm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CHART", "CRDS", "QUICKSTART", "SHAPES", "Helm", "container", "of_kind", "pods"]

_CHARTS = Path(__file__).parents[2] / "infra/helm"
CHART = _CHARTS / "nexus"
CRDS = _CHARTS / "nexus-crd"

QUICKSTART = {
    "scheduler.config.s3Buffer.payloadStoragePath": "s3a://nexus-s3-bucket/payload-store",
    "scheduler.config.s3Buffer.s3Credentials.secretName": "nexus-s3",
    "scheduler.config.cqlStore.type": "scylla",
    "scheduler.config.cqlStore.secretName": "nexus-cassandra",
    "ginMode": "release",
    "config.kafka.servers": "kafka:9092",
}
"""What upstream's quickstart sets, and the one thing that it has not: Kafka."""

SHAPES: dict[str, Mapping[str, str]] = {
    "single": QUICKSTART,
    "controller": QUICKSTART
    | {"mode": "controller", "config.http.external_url": "https://nexus.example.com"},
    "shard": QUICKSTART | {"mode": "shard", "config.cluster.name": "eu"},
}
"""The least that each mode needs."""


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Helm:
    """Runs Helm, and kubectl, with settings of their own."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._rendered: dict[tuple[str, ...], list[Any]] = {}
        self._environment = os.environ | {
            f"HELM_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")
        }

    def fails(self, *arguments: str | Path) -> str:
        """Run what is to be refused, and return the refusal."""
        done = self._run("helm", arguments)
        assert done.returncode, done.stdout
        return done.stderr

    def must(self, *arguments: str | Path, kubeconfig: Path | None = None) -> str:
        done = self._run("helm", arguments, kubeconfig)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kubectl(self, kubeconfig: Path, *arguments: str, given: str = "") -> str:
        done = self._run("kubectl", arguments, kubeconfig, given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def template(
        self, values: Mapping[str, str], namespace: str = "nexus", release: str = "nexus"
    ) -> list[Any]:
        """Render everything, hooks included; the same again is not rendered again."""
        arguments = ("template", release, str(CHART), "--namespace", namespace, *settings(values))
        if arguments not in self._rendered:
            written = self.must(*arguments)
            self._rendered[arguments] = [found for found in yaml.load_all(written, _LOADER) if found]
        return self._rendered[arguments]

    def _run(
        self, program: str, arguments: Sequence[str | Path], kubeconfig: Path | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        server = {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}
        return subprocess.run(
            [self._programs / program, *arguments],
            env=self._environment | server,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def settings(values: Mapping[str, str]) -> list[str]:
    """The flags that a person would write."""
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def of_kind(documents: Sequence[Any], kind: str) -> dict[str, Any]:
    """Those of one kind, by name."""
    return {found["metadata"]["name"]: found for found in documents if found["kind"] == kind}


def pods(documents: Sequence[Any]) -> dict[str, Any]:
    """The specification of each role's and each hook's pods, by what they run."""
    return {
        found["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: found["spec"][
            "template"
        ]["spec"]
        for found in documents
        if found["kind"] in {"Deployment", "Job"}
    }


def container(pod: Any) -> Any:
    [only] = pod["containers"]
    return only
