"""A cluster beside another one: an API server of its own on the same etcd."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from infra.services.kubernetes import Kubernetes
from infra.services.kubernetes.credentials import write_credentials
from infra.services.probes import fetch
from infra.services.process import Component
from infra.services.server import free_ports

__all__ = ["ACCOUNTS", "JOBS", "ClusterBeside"]

ACCOUNTS = ("serviceaccount", "serviceaccount-token", "root-ca-certificate-publisher")
"""Controllers by which service accounts have tokens."""
JOBS = (*ACCOUNTS, "job", "garbage-collector", "node-lifecycle", "pod-garbage-collector")
"""Controllers by which Jobs have pods, which are scheduled and played then."""

_HERE = Path(__file__).parent


class ClusterBeside(Kubernetes):
    """Begins empty, and leaves nothing behind once it is removed.

    Without controllers nothing but what a client does happens. Where it is `audited`, it notes what each service
    account asks for (`audit`).
    """

    def __init__(
        self, other: Kubernetes, folder: Path, controllers: Collection[str] = (), *, audited: bool = False
    ) -> None:
        super().__init__(folder, free_ports(dict.fromkeys(self.usual_ports, 0)))
        self._other = other
        self._controllers = controllers
        self._audited = audited
        self._prefix = f"/{uuid.uuid4().hex}"

    @property
    def audit(self) -> Path:
        """Events of `audit.k8s.io`, one in a line."""
        return self.folder / "audit.log"

    @property
    def components(self) -> Sequence[Component]:
        named = {"apiserver"}
        if self._controllers:
            named.add("controller-manager")
        if self._plays_pods:
            named |= {"scheduler", "kwok"}
        return [component for component in super().components if component.name in named]

    def start(self, *names: str) -> None:
        super().start(*(names or [component.name for component in self.components]))
        if not names and self._plays_pods:
            self._make_nodes()

    def prepare(self) -> None:
        write_credentials(self._pki, self.ports["apiserver"])
        self.render(_HERE / "kwok-logs.yaml", log=str(_HERE / "container.log"))

    def remove(self) -> None:
        """End it, with everything that it kept in etcd."""
        self.kill()
        first, beyond = (
            base64.b64encode(key.encode()).decode() for key in (f"{self._prefix}/", f"{self._prefix}0")
        )
        fetch(self._etcd_port, "POST", "/v3/kv/deleterange", {"key": first, "range_end": beyond})

    @property
    def _plays_pods(self) -> bool:
        return "job" in self._controllers

    def _apiserver_flags(self) -> Mapping[str, object]:
        flags = {**super()._apiserver_flags(), "etcd-prefix": self._prefix}
        if self._audited:
            flags |= {"audit-policy-file": _HERE / "audit.yaml", "audit-log-path": self.audit}
        return flags

    def _controller_manager_flags(self) -> Mapping[str, object]:
        named = ",".join(f"{controller}-controller" for controller in self._controllers)
        return {**super()._controller_manager_flags(), "controllers": named}

    @property
    def _etcd_port(self) -> int:
        return self._other._etcd_port
