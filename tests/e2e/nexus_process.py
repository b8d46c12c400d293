"""A real `nexus dev` in a process of its own, and what a client does with it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

ENDED = {"COMPLETED", "FAILED", "SCHEDULING_FAILED", "DEADLINE_EXCEEDED", "CANCELLED"}
TEMPLATES = Path(__file__).parent / "templates"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class NexusProcess:
    """Starts, stops and kills `nexus dev` on one state folder, always on the same port."""

    def __init__(self, state: Path, templates: Path = TEMPLATES, **settings: str) -> None:
        self.state = state
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._templates = templates
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.AsyncClient(base_url=self.url, timeout=30)

    async def start(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        flags = ["--state", str(self.state), "--port", str(self.port), "--templates", str(self._templates)]
        environment = os.environ | {f"NEXUS__{key.upper()}": value for key, value in self._settings.items()}
        with (self.state / "nexus.out").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nexus", "dev", *flags], env=environment, stdout=output, stderr=output
            )
        await self.until(self._ready)

    async def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.state / "nexus.out").read_text()[-4000:])
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

    @staticmethod
    async def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
        """Wait for an async condition to be true, and give what it gave."""
        deadline = time.monotonic() + seconds
        while not (result := await condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
            await asyncio.sleep(0.02)
        return result

    async def submit(self, algorithm: str, parameters: dict[str, Any] | None = None, **members: Any) -> str:
        query = "?dryRun=true" if members.pop("dry_run", False) else ""
        body = {"algorithmParameters": parameters or {}, **members}
        answer = await self.http.post(f"/algorithm/v1/run/{algorithm}{query}", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["requestId"]

    async def run(self, request_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/v1/runs/{request_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, request_id: str, seconds: float = 60) -> dict[str, Any]:
        return await self.reached(request_id, "ended", seconds)

    async def reached(self, request_id: str, state: str, seconds: float = 60) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            run = await self.run(request_id)
            return run if run["state"] == state else None

        return await self.until(there, seconds)

    async def collected(self, request_id: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            run = await self.run(request_id)
            return run if run["collectedAt"] else None

        return await self.until(there)

    async def events(self, request_id: str) -> list[dict[str, Any]]:
        return (await self.http.get(f"/api/v1/runs/{request_id}/events")).json()["events"]

    async def event_types(self, request_id: str) -> list[str]:
        return [event["type"] for event in await self.events(request_id)]

    async def cancel(self, algorithm: str, request_id: str, **members: Any) -> httpx.Response:
        body = {"initiator": "tests", "reason": "enough", **members}
        return await self.http.post(f"/algorithm/v1/cancel/{algorithm}/requests/{request_id}", json=body)

    async def all_runs(self, **query: str) -> AsyncIterator[dict[str, Any]]:
        cursor = ""
        while True:
            page = (
                await self.http.get(
                    "/api/v1/runs", params={"limit": 1000, **query, **({"cursor": cursor} if cursor else {})}
                )
            ).json()
            for run in page["runs"]:
                yield run
            if not (cursor := page["cursor"] or ""):
                return

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, as a person would use it beside the running process."""
        environment = os.environ | {"NEXUS_URL": self.url, "NEXUS_STATE": str(self.state)}
        return subprocess.run(
            [sys.executable, "-m", "nexus", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def notifications(self) -> list[dict[str, Any]]:
        done = self.command("results", "--from-beginning", "--no-follow", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["data"] for line in done.stdout.splitlines()]
