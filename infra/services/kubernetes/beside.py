"""A cluster beside another one: an API server of its own on the same etcd, without nodes and controllers."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.services.kubernetes import Kubernetes
from infra.services.kubernetes.credentials import write_credentials
from infra.services.probes import fetch
from infra.services.process import Component
from infra.services.server import free_ports

__all__ = ["ClusterBeside"]


class ClusterBeside(Kubernetes):
    """Begins empty, and leaves nothing behind once it is removed."""

    def __init__(self, other: Kubernetes, folder: Path) -> None:
        super().__init__(folder, free_ports({"apiserver": 0}))
        self._other = other
        self._prefix = f"/{uuid.uuid4().hex}"

    @property
    def components(self) -> Sequence[Component]:
        return [self._apiserver()]

    def start(self, *names: str) -> None:
        super().start(*(names or ("apiserver",)))

    def prepare(self) -> None:
        write_credentials(self._pki, self.ports["apiserver"])

    def remove(self) -> None:
        """End it, with everything that it kept in etcd."""
        self.kill()
        first, beyond = (
            base64.b64encode(key.encode()).decode() for key in (f"{self._prefix}/", f"{self._prefix}0")
        )
        fetch(self._etcd_port, "POST", "/v3/kv/deleterange", {"key": first, "range_end": beyond})

    def _apiserver_flags(self) -> Mapping[str, object]:
        return {**super()._apiserver_flags(), "etcd-prefix": self._prefix}

    @property
    def _etcd_port(self) -> int:
        return self._other._etcd_port
