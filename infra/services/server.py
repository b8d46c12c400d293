"""A server: the processes it consists of, in the order in which they start."""

from __future__ import annotations

import fcntl
import random
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import IO, ClassVar

from infra.services.cache import cache_folder, exclusive
from infra.services.errors import ServiceError
from infra.services.process import Component

__all__ = ["Server", "free_ports"]

# Below those that the system gives to clients, which would take the port of a server that is away for a moment; neither
# are they ten thousand apart.
_PORTS = range(11_000, 16_000)
_given: dict[int, IO[str]] = {}
"""With the lock that keeps each from other processes, which the kernel drops with this one."""


class Server(ABC):
    """One server of this machine, with its state in a folder that outlives the processes."""

    name: ClassVar[str]
    usual_ports: ClassVar[Mapping[str, int]]

    def __init__(self, folder: Path | None = None, ports: Mapping[str, int] | None = None) -> None:
        """`ports` has the keys of `usual_ports`, which are taken without it."""
        self.folder = folder or cache_folder() / "state" / self.name
        self.ports = dict(ports or self.usual_ports)

    @abstractmethod
    def install(self) -> None:
        """Download or build the programs, once. Raises MissingTool where this machine cannot."""

    @property
    @abstractmethod
    def components(self) -> Sequence[Component]:
        """Its processes, in the order in which they start."""

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """Its address, as the environment variables that tests read."""

    @abstractmethod
    def prepare(self) -> None:
        """Write what the processes read when they start."""

    def start(self, *names: str) -> None:
        """Start the named processes, or all: those which run are left alone. Returns when they serve."""
        self.install()
        with exclusive(self.folder.with_name(f"{self.folder.name}.lock")):
            if not self.running():
                self._check_ports()
            self.folder.mkdir(parents=True, exist_ok=True)
            self.prepare()
            for component in self._named(names):
                component.start()
                component.wait_ready()

    def stop(self, *names: str) -> None:
        """End the named processes, or all; state stays."""
        for component in reversed(list(self._named(names))):
            component.stop()

    def kill(self, *names: str) -> None:
        """End the named processes, or all, as a crash would; state stays."""
        for component in self._named(names):
            component.kill()

    def wait_ready(self) -> None:
        """Return when every process serves; raises ServiceError with the end of a log when one does not."""
        for component in self.components:
            component.wait_ready()

    def running(self) -> bool:
        """Whether any process of it lives."""
        return any(component.running() for component in self.components)

    def healthy(self) -> bool:
        return all(component.running() and component.healthy() for component in self.components)

    def render(self, *templates: Path, **values: str) -> Path:
        """Write files of the recipe into the state folder, as one, with their `${...}` replaced."""
        known = {"folder": str(self.folder)} | {key: str(port) for key, port in self.ports.items()} | values
        target = self.folder / templates[0].name
        target.write_text("".join(Template(template.read_text()).substitute(known) for template in templates))
        return target

    def _named(self, names: Sequence[str]) -> Iterator[Component]:
        known = [component.name for component in self.components]
        if unknown := set(names) - set(known):
            raise ServiceError(f"{self.name} has no {sorted(unknown)}: it consists of {known}")
        return (component for component in self.components if not names or component.name in names)

    def _check_ports(self) -> None:
        for purpose, port in self.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    raise ServiceError(
                        f"{self.name}: port {port} ({purpose}) belongs to another process. Stop it first."
                    ) from None


def free_ports(purposes: Mapping[str, int]) -> dict[str, int]:
    """Ports that nothing uses, kept for this process as long as it lives; ten thousand above each is one too, for SeaweedFS."""
    return {purpose: _free_port() for purpose in purposes}


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - nobody has to guess it
        if port not in _given and _reserve(port):
            return port


def _reserve(port: int) -> bool:
    """Keep it for this process, also while nobody listens there because its server was killed."""
    file = cache_folder() / "ports" / str(port)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    if not all(map(_is_free, (port, port + 10_000))):
        lock.close()
        return False
    _given[port] = lock
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
