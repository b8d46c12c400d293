"""Opening the log beside the Nexus that writes it: that of a state folder, or the one that the configuration names."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

from nexus.composition.engines import Engines
from nexus.config import load
from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.state import StateFolder
from nexus.ports import EventLog

__all__ = ["open_log", "open_state"]


@asynccontextmanager
async def open_log(state: Path, config: Path | None) -> AsyncIterator[EventLog]:
    """To read only. Raises ConfigError where nothing was ever kept."""
    settings = load(config, os.environ)
    if settings.kafka.servers:
        async with AsyncExitStack() as stack:
            yield await Engines(settings, None, stack).log()
    else:
        with open_state(StateFolder(state)) as log:
            yield log


def open_state(folder: StateFolder) -> closing[SqliteEventLog]:
    """With the topics that it has. Raises ConfigError where nothing was ever kept."""
    folder.must_exist()
    return closing(SqliteEventLog(folder.log, {}, time.time))
