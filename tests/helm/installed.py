"""The chart in each of its modes, installed on the real API server, whose pods kwok plays."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.helm import CHART, CRDS, SHAPES, Helm, settings

__all__ = ["RELEASE", "Release", "definitions", "installed"]

RELEASE = "nexus"
_ENFORCED = "pod-security.kubernetes.io/enforce"
_OURS = "deployments,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets,secrets,configmaps"


class Release:
    """One installation in a namespace of its own, where only pods that keep a standard are let in."""

    def __init__(
        self,
        helm: Helm,
        kubeconfig: Path,
        mode: str,
        values: Mapping[str, str] | None = None,
        *,
        namespace: str = "",
    ) -> None:
        self.helm = helm
        self.kubeconfig = kubeconfig
        self.values = values or SHAPES[mode]
        self.mode = mode
        self.namespace = namespace or f"test-{mode}-{uuid.uuid4().hex[:8]}"
        self.said = ""

    def make_namespace(self) -> None:
        self.kubectl("create", "namespace", self.namespace)
        self.kubectl("label", "namespace", self.namespace, f"{_ENFORCED}=restricted")

    def install(self) -> None:
        self.said = self.run("install", "--wait", "--timeout", "3m")

    def upgrade(self) -> str:
        return self.run("upgrade")

    def run(self, action: str, *flags: str) -> str:
        return self.helm.must(
            action,
            RELEASE,
            CHART,
            "--namespace",
            self.namespace,
            *flags,
            *self._settings,
            kubeconfig=self.kubeconfig,
        )

    def rendered(self) -> list[Any]:
        """What Helm rendered for this namespace."""
        return self.helm.template(self.values, self.namespace, RELEASE)

    def there(self) -> Mapping[str, tuple[str, Any]]:
        """The version of each object; of one whose status moves on, that of what is wanted of it."""
        found = json.loads(self.kubectl("get", _OURS, "-n", self.namespace, "-l", _label(), "-o", "json"))[
            "items"
        ]
        return {
            f"{thing['kind']}/{thing['metadata']['name']}": (
                thing["metadata"]["uid"],
                thing["metadata"].get("generation") or thing["metadata"]["resourceVersion"],
            )
            for thing in found
        }

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self.helm.kubectl(self.kubeconfig, *arguments, given=given)

    def remove(self) -> None:
        self.helm.must(
            "uninstall",
            RELEASE,
            "--namespace",
            self.namespace,
            "--ignore-not-found",
            kubeconfig=self.kubeconfig,
        )
        self.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    @property
    def _settings(self) -> list[str]:
        return settings(self.values)


def _label() -> str:
    return f"app.kubernetes.io/instance={RELEASE}"


def definitions(helm: Helm, kubeconfig: Path) -> None:
    """Install those of the custom resources, whoever has done so before."""
    flags = ("--install", "--take-ownership", "--force-conflicts")
    helm.must("upgrade", *flags, "nexus-crd", CRDS, kubeconfig=kubeconfig)


@contextmanager
def installed(helm: Helm, kubeconfig: Path) -> Iterator[Mapping[str, Release]]:
    """All modes side by side, after the definitions of their resources, by mode."""
    definitions(helm, kubeconfig)
    releases = {mode: Release(helm, kubeconfig, mode) for mode in SHAPES}
    with ThreadPoolExecutor(len(releases)) as pool:
        try:
            list(pool.map(Release.make_namespace, releases.values()))
            list(pool.map(Release.install, releases.values()))
            yield releases
        finally:
            list(pool.map(Release.remove, releases.values()))
