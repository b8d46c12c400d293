"""A Kubernetes cluster: the real control plane, and kwok, which plays the nodes and their pods (`kwok.yaml`)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from infra.services.errors import ServiceError
from infra.services.kubernetes.build import KWOK_VERSION, VERSION, install, programs
from infra.services.kubernetes.credentials import administrator, write_credentials
from infra.services.probes import fetch, http_ok
from infra.services.process import Component
from infra.services.server import Server

__all__ = ["KWOK_VERSION", "VERSION", "Kubernetes", "nodes"]

_HERE = Path(__file__).parent
_STAGES = _HERE / "kwok.yaml"
_LOGS = "kwok-logs.yaml"
_NODES = ("node-1", "node-2")


class Kubernetes(Server):
    """Its components are etcd, apiserver, controller-manager, scheduler and kwok."""

    name = "kubernetes"
    usual_ports: ClassVar[Mapping[str, int]] = {
        "etcd": 12379,
        "etcd_peer": 12380,
        "apiserver": 16443,
        "controller_manager": 16257,
        "scheduler": 16259,
        "kwok": 16247,
    }

    @property
    def kubeconfig(self) -> Path:
        """That of an administrator."""
        return self._pki / "admin.kubeconfig"

    @property
    def variables(self) -> Mapping[str, str]:
        return {"NEXUS_TEST_KUBECONFIG": str(self.kubeconfig)}

    def install(self) -> None:
        install()

    def prepare(self) -> None:
        write_credentials(self._pki, self.ports["apiserver"])
        self.render(_HERE / _LOGS, log=str(_HERE / "container.log"))

    @property
    def components(self) -> Sequence[Component]:
        ports = self.ports
        return [
            self._component("etcd", "etcd", self._etcd_flags(), lambda: http_ok(ports["etcd"], "/readyz")),
            self._apiserver(),
            self._component(
                "controller-manager",
                "kube-controller-manager",
                self._controller_manager_flags(),
                lambda: _healthz(ports["controller_manager"]) and self._accounts_are_made(),
            ),
            self._component(
                "scheduler", "kube-scheduler", self._scheduler_flags(), lambda: _healthz(ports["scheduler"])
            ),
            self._component("kwok", "kwok", self._kwok_flags(), lambda: http_ok(ports["kwok"], "/healthz")),
        ]

    def _apiserver(self) -> Component:
        return self._component("apiserver", "kube-apiserver", self._apiserver_flags(), self._api_serves)

    def start(self, *names: str) -> None:
        """Start as any server, with two nodes: kwok brings them to life, and tests may add others."""
        super().start(*names)
        if not names:
            self._make_nodes()

    def _make_nodes(self) -> None:
        for node in nodes():
            status, answer = self._api("POST", "/api/v1/nodes", node)
            if status not in {201, 409}:
                raise ServiceError(f"the API server refused a node with {status}: {answer}")

    @property
    def _etcd_port(self) -> int:
        return self.ports["etcd"]

    @property
    def _pki(self) -> Path:
        return self.folder / "certificates"

    def _component(
        self, name: str, program: str, flags: Mapping[str, object], ready: Callable[[], bool]
    ) -> Component:
        command: list[str | Path] = [programs() / program]
        command += (f"--{flag}={value}" for flag, value in flags.items())
        return Component(name, self.folder, command, ready)

    def _etcd_flags(self) -> Mapping[str, object]:
        client = f"http://127.0.0.1:{self.ports['etcd']}"
        peer = f"http://127.0.0.1:{self.ports['etcd_peer']}"
        return {
            "name": "only",
            "data-dir": self.folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"only={peer}",
            "unsafe-no-fsync": "true",  # the machine will not lose power in the middle of a test
            "quota-backend-bytes": 4 * 1024**3,
            "log-level": "warn",
        }

    def _apiserver_flags(self) -> Mapping[str, object]:
        return {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self.ports["apiserver"],
            "tls-cert-file": self._pki / "apiserver.crt",
            "tls-private-key-file": self._pki / "apiserver.key",
            "client-ca-file": self._pki / "ca.crt",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-signing-key-file": self._pki / "service-accounts.key",
            "service-account-key-file": self._pki / "service-accounts.pub",
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": "10.96.0.0/16",
            "allow-privileged": "true",
            "endpoint-reconciler-type": "none",
            "kubelet-preferred-address-types": "InternalIP",  # the names of played nodes lead nowhere
        }

    def _controller_manager_flags(self) -> Mapping[str, object]:
        return self._client_flags("controller-manager", self.ports["controller_manager"]) | {
            "use-service-account-credentials": "true",
            "service-account-private-key-file": self._pki / "service-accounts.key",
            "root-ca-file": self._pki / "ca.crt",
            "cluster-signing-cert-file": self._pki / "ca.crt",
            "cluster-signing-key-file": self._pki / "ca.key",
            "node-monitor-period": "1s",
            "node-monitor-grace-period": "8s",
            "concurrent-job-syncs": 20,
            "concurrent-gc-syncs": 40,
            "concurrent-ttl-after-finished-syncs": 20,
        }

    def _scheduler_flags(self) -> Mapping[str, object]:
        return self._client_flags("scheduler", self.ports["scheduler"])

    def _client_flags(self, client: str, port: int) -> dict[str, object]:
        kubeconfig = self._pki / f"{client}.kubeconfig"
        return {
            "kubeconfig": kubeconfig,
            "authentication-kubeconfig": kubeconfig,
            "authorization-kubeconfig": kubeconfig,
            "bind-address": "127.0.0.1",
            "secure-port": port,
            "leader-elect": "false",
            # With the stock limit of 20 requests a second a cluster finishes 3 to 6 Jobs a second.
            "kube-api-qps": 500,
            "kube-api-burst": 1000,
        }

    def _kwok_flags(self) -> Mapping[str, object]:
        return {
            "kubeconfig": self._pki / "kwok.kubeconfig",
            "config": f"{_STAGES},{self.folder / _LOGS}",
            "manage-nodes-with-label-selector": "type=kwok",
            "node-lease-duration-seconds": 10,
            "server-address": f"127.0.0.1:{self.ports['kwok']}",
            "cidr": "10.244.0.0/16",
            "node-ip": "127.0.0.1",
            "node-port": self.ports["kwok"],
        }

    def _api_serves(self) -> bool:
        return self._api("GET", "/readyz")[0] == 200

    def _accounts_are_made(self) -> bool:
        """No pod is admitted before its namespace has a service account."""
        return self._api("GET", "/api/v1/namespaces/default/serviceaccounts/default")[0] == 200

    def _api(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        return fetch(self.ports["apiserver"], method, path, body, administrator(self._pki))


def nodes() -> list[dict[str, object]]:
    """The nodes that kwok plays."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"type": "kwok", "kubernetes.io/hostname": name}},
        }
        for name in _NODES
    ]


def _healthz(port: int) -> bool:
    """Of a component that makes a certificate for itself at every start."""
    anyone = ssl.create_default_context()
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    return http_ok(port, "/healthz", anyone)
