"""Plays pods: a process on this machine with exactly what the specification of a pod gives its container.

Its arguments, its variables (those of the image and of the kubelet among them), its mounted files and the token of its
service account, and nothing else. The root is read-only where the specification says so, `/tmp` is its own, and the
pod has an address of its own on the loopback interface. What is needed for that is Linux with `unshare`.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from yarl import URL

from tests.support.kube import Namespace

__all__ = ["Pod", "mounts", "pod"]

_ROOT = Path(__file__).parents[2]
_ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"  # /var/run is a link to /run
_IMAGE = {
    "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONUNBUFFERED": "1",
}
"""What the image sets (infra/Dockerfile), but for the address that it listens on, which is the pod's."""

# The new root is made of the old one, piece by piece, so that there are places to mount at. Arguments: the new root, the folder of
# the pod, read-only or not, the working directory, then the command. What is below /tmp of the old root is seen where it is needed.
_ENTER = r"""
set -e
root=$1 pod=$2 writable=$3 directory=$4 source=$5; shift 5
mount -t tmpfs pod "$root"
for entry in /*; do
    name=${entry#/}
    case $name in tmp|run) mkdir "$root/$name"; continue;; esac
    if [ -L "$entry" ]; then cp -P "$entry" "$root/$name"
    elif [ -d "$entry" ]; then mkdir "$root/$name"; mount --rbind "$entry" "$root/$name"
        case $name in dev|proc|sys) ;; *) [ "$writable" = yes ] || mount -o remount,bind,ro "$root/$name";; esac
    fi
done
mount --bind "$pod/tmp" "$root/tmp"
mkdir -p "$root$source"; mount --bind "$source" "$root$source"; mount -o remount,bind,ro "$root$source"
for place in $(cat "$pod/mounts"); do
    mkdir -p "$root$place"; mount --bind "$pod/files$place" "$root$place"; mount -o remount,bind,ro "$root$place"
done
[ "$writable" = yes ] || mount -o remount,bind,ro "$root"
exec chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$directory" "$@"
"""


class Pod:
    """One pod of a role or a hook."""

    def __init__(
        self,
        folder: Path,
        command: list[str],
        environment: dict[str, str],
        address: str,
        ports: Mapping[str, int],
    ) -> None:
        self.folder = folder
        self._address = address
        self._ports = ports
        self.url = f"http://{address}:8080"
        self.http = httpx.AsyncClient(base_url=self.url, timeout=30)
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=output, cwd="/"
            )

    def finish(self) -> None:
        """Run to the end, which has to be a good one."""
        self.start()
        assert self._process is not None
        assert self._process.wait(timeout=120) == 0, self.said()

    async def ready(self, probe: Any) -> bool:
        """What the kubelet finds by this probe of the specification."""
        assert self._process is not None
        assert self._process.poll() is None, self.said()
        asked = probe["httpGet"]
        url = f"http://{self._address}:{self._ports[asked['port']]}{asked['path']}"
        try:
            return (await self.http.get(url)).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """As the kubelet does: SIGTERM, and time to end."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=60)

    async def close(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        await self.http.aclose()

    def said(self) -> str:
        return self._log.read_text()[-4000:]

    @property
    def _log(self) -> Path:
        return self.folder / "log"


async def pod(there: Namespace, name: str, spec: Any, folder: Path, address: str) -> Pod:
    """Gather what the kubelet would give to a pod of the namespace."""
    [container] = spec["containers"]
    folder.mkdir(parents=True)
    (folder / "root").mkdir()
    (folder / "tmp").mkdir()
    server = URL(await there.connection.host())
    environment = _IMAGE | {
        "NEXUS__HTTP__HOST": address,
        "HOSTNAME": name,
        "HOME": "/",
        "KUBERNETES_SERVICE_HOST": str(server.host),
        "KUBERNETES_SERVICE_PORT": str(server.port),
    }
    for source in container.get("envFrom", []):
        environment |= await _secret(there, source["secretRef"]["name"])
    for entry in container["env"]:
        environment[entry["name"]] = await _value(there, entry)
    places = await mounts(there, spec, folder)
    if spec.get("automountServiceAccountToken", True):
        await _account(there, spec.get("serviceAccountName", "default"), folder)
        places.append(_ACCOUNT)
    (folder / "mounts").write_text("\n".join(places))
    writable = "no" if container["securityContext"]["readOnlyRootFilesystem"] else "yes"
    command = [
        *_unshare(),
        "/bin/sh",
        "-c",
        _ENTER,
        "enter",
        str(folder / "root"),
        str(folder),
        writable,
        container["workingDir"],
        str(_ROOT),
        str(Path(sys.executable).with_name("nexus")),
        *container["args"],
    ]
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    return Pod(folder, command, environment, address, ports)


def _unshare() -> list[str]:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("NOT TESTED: pods are played with unshare of util-linux")
    return [unshare, "--mount"] if os.geteuid() == 0 else [unshare, "--map-root-user", "--mount"]


async def _secret(there: Namespace, name: str) -> dict[str, str]:
    found = await there.call("GET", f"/api/v1/namespaces/{{}}/secrets/{name}")
    assert found, f"there is no Secret {name}"
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


async def _value(there: Namespace, entry: Any) -> str:
    if "valueFrom" not in entry:
        return str(entry["value"])
    asked = entry["valueFrom"]["secretKeyRef"]
    return (await _secret(there, asked["name"]))[asked["key"]]


async def mounts(there: Namespace, spec: Any, folder: Path) -> list[str]:
    """Where files are, which are made, or brought up to date.

    Only Secrets that are projected, and empty folders, are used by the chart.
    """
    [container] = spec["containers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    places = []
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if mount["mountPath"] == "/tmp":
            assert "emptyDir" in volume
            continue
        files = folder / "files" / mount["mountPath"].strip("/")
        files.mkdir(parents=True, exist_ok=True)
        entries: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            found = await there.call("GET", f"/api/v1/namespaces/{{}}/secrets/{source['secret']['name']}")
            given = (found or {}).get("data", {})
            entries |= {key: base64.b64decode(value) for key, value in given.items()}
        for key, content in entries.items():
            (folder / "fresh").write_bytes(content)
            (folder / "fresh").rename(files / key)
        for file in files.iterdir():
            if file.name not in entries:
                file.unlink()
        places.append(mount["mountPath"])
    return places


async def _account(there: Namespace, name: str, folder: Path) -> None:
    files = folder / "files" / _ACCOUNT.strip("/")
    files.mkdir(parents=True)
    at = f"/api/v1/namespaces/{{}}/serviceaccounts/{name}/token"
    granted = await there.call("POST", at, {"spec": {"expirationSeconds": 3600}})
    (files / "token").write_text(granted["status"]["token"])
    (files / "namespace").write_text(there.name)
    authority = await there.call("GET", "/api/v1/namespaces/{}/configmaps/kube-root-ca.crt")
    (files / "ca.crt").write_text(authority["data"]["ca.crt"])
