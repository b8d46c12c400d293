"""The image that `make image` has built, on real servers: `make test-image` runs this, and nothing else collects it.

The root of each container is read-only, and its user the image's own or one that the image does not know.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infra.image.builders import Run, builder
from nexus.composition.roles import INSTALLED
from nexus.composition.serving import ROLES
from tests.e2e.client import NexusClient
from tests.e2e.installation import TEMPLATES, Algorithms, prepared
from tests.e2e.nexus_process import free_port

TAG = "nexus:latest"
OWN, FOREIGN = 10001, 12345
SECONDS = 240


class Containers:
    """Those of one test; all have ended when it has."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._builder = builder()
        self._folder = folder
        self._stack = stack
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, arguments: list[str], **settings: Any) -> None:
        command = self._stack.enter_context(self._builder.command(Run(TAG, arguments, **settings)))
        with (self._folder / f"{name}.out").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        self._processes[name] = process
        self._stack.callback(_end, process)

    def done(self, name: str) -> str:
        """What a command says that ends by itself."""
        assert self._processes[name].wait(timeout=SECONDS) == 0, self.said(name)
        return self.said(name)

    async def ready(self, name: str, port: int) -> None:
        async with httpx.AsyncClient() as http:

            async def answers() -> bool:
                assert self._processes[name].poll() is None, self.said(name)
                with suppress(httpx.TransportError):
                    return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
                return False

            await NexusClient.until(answers, seconds=SECONDS)

    @staticmethod
    async def memory(port: int) -> float:
        """MB, as the process says itself."""
        async with httpx.AsyncClient() as http:
            said = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        return float(said.partition("\nprocess_resident_memory_bytes ")[2].split()[0]) / 1e6

    def stop(self) -> dict[str, int]:
        for process in self._processes.values():
            process.terminate()
        return {name: process.wait(timeout=60) for name, process in self._processes.items()}

    def said(self, name: str) -> str:
        return (self._folder / f"{name}.out").read_text()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture
def containers(tmp_path):
    with ExitStack() as stack:
        yield Containers(tmp_path, stack)


def test_it_prints_the_definitions(containers):
    containers.start("crds", ["crds"], user=FOREIGN)
    printed = list(yaml.safe_load_all(containers.done("crds")))
    files = sorted(Path("infra/crds").glob("*.yaml"))
    assert printed == [yaml.safe_load(file.read_text()) for file in files]


async def test_it_runs_alone(containers):
    port = free_port()
    arguments = ["dev", "--state", "/tmp/state", "--host", "127.0.0.1", "--port", str(port)]
    containers.start(
        "dev", [*arguments, "--templates", "/tmp/templates"], user=FOREIGN, files={"templates": TEMPLATES}
    )
    await containers.ready("dev", port)
    assert containers.stop() == {"dev": 0}


@pytest.mark.parametrize("user", [OWN, FOREIGN])
async def test_every_role_is_ready_and_does_its_part(containers, there, tmp_path, user, capsys):
    """A run goes through all of them."""
    async with prepared(tmp_path / "installation", there) as nexus:
        ports = {"api": nexus.api.port, "receiver": nexus.receiver.port}
        for role in (*ROLES, *INSTALLED):
            ports.setdefault(role, free_port())
        kubeconfig = Path(shutil.copy(nexus.kubeconfig, tmp_path / "kubeconfig"))
        kubeconfig.chmod(0o644)  # as a mounted Secret is
        settings = {
            "user": user,
            "files": {"kubeconfig": kubeconfig, "templates": TEMPLATES},
            "environment": nexus.variables
            | {
                "NEXUS__HTTP__HOST": "127.0.0.1",
                "NEXUS__KUBERNETES__KUBECONFIG": "/tmp/kubeconfig",
                "NEXUS__TEMPLATES__KUBECONFIG": "/tmp/kubeconfig",
                "NEXUS__TEMPLATES__FOLDER": "/tmp/templates",
            },
        }
        for command in (["topics", "--development"], ["schema"]):
            containers.start(command[0], command, **settings)
            containers.done(command[0])
        for role, port in ports.items():
            containers.start(role, [role, "--port", str(port)], **settings)
        await asyncio.gather(*(containers.ready(role, port) for role, port in ports.items()))

        playing = asyncio.create_task(Algorithms(nexus).run())
        ended = await nexus.ended(await nexus.submit("brief"))
        assert ended["stage"] == "COMPLETED"
        playing.cancel()
        with capsys.disabled():
            print()
            for role, port in ports.items():
                print(f"  {role} as {user}: ready, {await containers.memory(port):.0f} MB")
        assert set(containers.stop().values()) == {0}
