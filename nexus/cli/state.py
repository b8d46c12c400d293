"""Opening what a state folder holds, beside the Nexus that owns it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nexus.embedded.event_log import SqliteEventLog
from nexus.embedded.state import StateFolder

__all__ = ["open_log"]


@contextmanager
def open_log(state: Path) -> Iterator[SqliteEventLog]:
    """To read only, with the topics that it has. Raises ConfigError where nothing was ever kept."""
    folder = StateFolder(state)
    folder.must_exist()
    with closing(SqliteEventLog(folder.log, {}, time.time)) as log:
        yield log
