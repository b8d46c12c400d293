"""Who may act for a Job: asking for it, and taking it from an owner."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
from pathlib import Path

from nexus.embedded.cluster.owner import DELETED
from nexus.embedded.cluster.processes import Mark, kill_leftovers, signal_process
from nexus.embedded.cluster.statefile import read_state

__all__ = ["is_owned", "remove"]

_TIMEOUT = 2.0  # seconds for an owner to kill its command and go, before it is killed itself
_PAUSE = 0.005


def is_owned(folder: Path) -> bool:
    """Whether an owner lives."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try(lock)
    finally:
        os.close(lock)


async def remove(folder: Path, uid: str) -> None:
    """Kill what runs for the Job and remove its folder, if it ever had one."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        (folder / DELETED).touch(mode=0o600)
        await _evict(folder, lock)
        state = read_state(str(folder))
        if state is None or state["owner"] is not None:  # the owner did not go in order: its command may live
            command: Mark | None = state["process"] if state else None
            await asyncio.to_thread(kill_leftovers, uid, command)
        await asyncio.to_thread(shutil.rmtree, folder)
    finally:
        os.close(lock)


async def _evict(folder: Path, lock: int) -> None:
    loop = asyncio.get_running_loop()
    asked: Mark | None = None
    until = loop.time() + _TIMEOUT
    while not _try(lock):
        state = read_state(str(folder))
        owner: Mark | None = state["owner"] if state else None  # None before it has written anything
        if owner is not None and owner != asked:
            signal_process(owner, signal.SIGTERM)
            asked, until = owner, loop.time() + _TIMEOUT
        elif owner is not None and loop.time() > until:
            signal_process(owner, signal.SIGKILL)
        await asyncio.sleep(_PAUSE)


def _try(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
