"""A real Nexus in a process of its own: `nexus dev`, or one role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from infra.services.server import free_ports
from tests.e2e.client import NexusClient

ENDED = {"COMPLETED", "FAILED", "SCHEDULING_FAILED", "DEADLINE_EXCEEDED", "CANCELLED"}
TEMPLATES = Path(__file__).parent / "templates"


def free_port() -> int:
    return free_ports({"http": 0})["http"]


class NexusProcess(NexusClient):
    """Starts, stops and kills `nexus <role>`, always on the same port. `dev` keeps its state in the folder."""

    def __init__(
        self,
        state: Path,
        templates: Path = TEMPLATES,
        role: str = "dev",
        flags: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.state = state
        self.role = role
        self.flags = flags
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self._environment = os.environ | {"NEXUS_URL": self.url, "NEXUS_STATE": str(state)}
        self.use(templates__folder=str(templates), **settings)
        self._process: subprocess.Popen[bytes] | None = None

    def use(self, **settings: str) -> None:
        """From the next start on, and for commands at once."""
        self._environment |= {f"NEXUS__{key.upper()}": value for key, value in settings.items()}

    async def start(self) -> None:
        self.launch()
        await self.ready()

    async def ready(self) -> None:
        """However many start at once on a small machine: one that has ended is noticed at once."""
        await self.until(self._ready, seconds=240)

    def launch(self) -> None:
        """Start it, and do not wait until it is ready."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-m", "nexus", self.role, "--port", str(self.port), *self.flags]
        if self.role == "dev":
            command += ["--state", str(self.state)]
        with (self.state / f"{self.role}.out").open("ab") as output:
            self._process = subprocess.Popen(command, env=self._environment, stdout=output, stderr=output)

    async def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.state / f"{self.role}.out").read_text()[-4000:])
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """As a power cut for this process: SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=30)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, as a person would use it beside the running process."""
        return subprocess.run(
            [sys.executable, "-m", "nexus", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def notifications(self) -> list[dict[str, Any]]:
        done = self.command("results", "--from-beginning", "--no-follow", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["data"] for line in done.stdout.splitlines()]
