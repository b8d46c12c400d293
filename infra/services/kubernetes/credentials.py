"""Who may talk to a cluster: certificates, and the kubeconfigs that hold them."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path

from infra.services.pki import Authority

__all__ = ["administrator", "write_credentials"]

_SERVER_NAMES = (
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1"
)
_CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "kwok": "/O=system:masters/CN=kwok",
}


def write_credentials(folder: Path, api_port: int) -> None:
    """Certificates of the API server and its clients, the key of service accounts, and `<client>.kubeconfig`."""
    authority = Authority(folder)
    authority.rsa_pair("service-accounts")
    authority.issue("apiserver", "/CN=kube-apiserver", "serverAuth", _SERVER_NAMES)
    for client, subject in _CLIENTS.items():
        certificate, key = authority.issue(client, subject, "clientAuth")
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "local",
            "contexts": [
                {"name": "local", "context": {"cluster": "local", "user": client, "namespace": "default"}}
            ],
            "clusters": [
                {
                    "name": "local",
                    "cluster": {
                        "server": f"https://127.0.0.1:{api_port}",
                        "certificate-authority-data": _encoded(authority.certificate),
                    },
                }
            ],
            "users": [
                {
                    "name": client,
                    "user": {
                        "client-certificate-data": _encoded(certificate),
                        "client-key-data": _encoded(key),
                    },
                }
            ],
        }
        file = folder / f"{client}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(document, indent=2))  # which is YAML


def administrator(folder: Path) -> ssl.SSLContext:
    """For requests to the API server."""
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    return context


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
