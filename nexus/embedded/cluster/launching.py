"""The adapter's end of the launcher: orders go in, and a launcher that died is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from pathlib import Path

from nexus.domain.errors import Unavailable
from nexus.embedded.cluster.work_order import Order
from nexus.embedded.private import make_file

__all__ = ["Launching"]

_PAUSE = 1.0  # seconds between launchers, should they not live


class Launching:
    """`listening` is bound in the root by the launcher. Orders lost with one are the sender's to repeat."""

    def __init__(self, root: Path, listening: socket.socket) -> None:
        self._root = root
        self._listening = listening

    async def start(self) -> None:
        self._process = await self._spawn(self._listening.fileno())
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Owners stay."""
        self._keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeping
        self._input.close()
        await self._process.wait()

    def send(self, order: Order) -> None:
        self._input.write(json.dumps(order).encode() + b"\n")

    @property
    def _input(self) -> asyncio.StreamWriter:
        assert self._process.stdin is not None
        return self._process.stdin

    async def _keep(self) -> None:
        while True:
            await self._process.wait()
            with contextlib.suppress(Unavailable):
                self._process = await self._spawn()
            await asyncio.sleep(_PAUSE)

    async def _spawn(self, *bind: int) -> asyncio.subprocess.Process:
        """Ready when this returns. Raises Unavailable."""
        make_file(self._root / "owners.log")
        with (self._root / "owners.log").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "nexus.embedded.cluster.launcher"),
                *(str(number) for number in bind),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                cwd=self._root,
                pass_fds=bind,
                start_new_session=True,
            )
        assert process.stdout is not None
        if not await process.stdout.readline():
            await process.wait()
            raise Unavailable(f"the launcher of Jobs does not start; see {self._root / 'owners.log'}")
        return process
