"""A process that is a member of a group: `python -m tests.contract.member KIND SERVERS TOPIC FILE`.

Writes each value to the file, then acknowledges it. SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from nexus.ports import Partition
from streams.processor import Delivery
from tests.contract.engines import ENGINES


class Writing:
    def __init__(self, file: Path) -> None:
        self._file = file.open("a")

    async def assigned(self, mine: Collection[Partition], every: Collection[Partition]) -> None:
        pass

    async def process(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            self._file.write(delivery.record.value.decode() + "\n")
        self._file.flush()
        for delivery in batch:
            delivery.ack()

    async def caught_up(self, until: datetime) -> None:
        pass


async def main(kind: str, servers: str, topic: str, file: str) -> None:
    engine = ENGINES[kind](servers, topic)
    task = asyncio.create_task(engine.driver(Writing(Path(file)), "tests", 20).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


asyncio.run(main(*sys.argv[1:]))
