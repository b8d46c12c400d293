"""Which Jobs have a slot: launches owners, hears from them, and looks after those that fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from nexus.embedded.cluster import custody
from nexus.embedded.cluster.known_job import KnownJob
from nexus.embedded.cluster.launching import Launching
from nexus.embedded.cluster.owner import EVENTS
from nexus.embedded.cluster.policy import DEADLINE_EXCEEDED
from nexus.embedded.cluster.statefile import last_line, write_state
from nexus.embedded.cluster.status import fail, new_state, schedule, stamp
from nexus.embedded.cluster.work_order import Order
from nexus.ports import Change

__all__ = ["Scheduling"]

_LOOK_AGAIN = 1.0  # seconds between looks at every Job that has a slot: a word may be lost, an owner may die
_TIME_TO_START = 2.0  # seconds for an owner to take the lock of a Job


class Scheduling:
    """A Job has its slot until it ends, between its attempts as well. `publish` gets what changed."""

    def __init__(
        self,
        root: Path,
        slots: int,
        order_of: Callable[[KnownJob], Order],
        publish: Callable[[Iterable[Change]], None],
    ) -> None:
        self._root = root
        self._slots = slots
        self._order_of = order_of
        self._publish = publish
        self._pending: dict[str, KnownJob] = {}
        self._active: dict[str, KnownJob] = {}
        self._events = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._events.setblocking(False)
        self._launching = Launching(root, self._events)

    async def start(self) -> None:
        await self._launching.start()
        asyncio.get_running_loop().add_reader(self._events.fileno(), self._hear)
        self._looking = asyncio.create_task(self._look_again())

    async def stop(self) -> None:
        self._looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._looking
        for record in self._pending.values():
            record.cancel_timer()
        asyncio.get_running_loop().remove_reader(self._events.fileno())
        await self._launching.stop()
        self._events.close()
        (self._root / EVENTS).unlink(missing_ok=True)

    def folder(self, record: KnownJob) -> Path:
        """Where its owner works; made with its first launch."""
        return self._root / "jobs" / record.uid

    def add(self, record: KnownJob) -> None:
        """A Job just created: it waits for a slot, but not beyond its deadline."""
        self._publish(record.show(new_state(self._order_of(record))))
        self._wait(record)
        self.fill()

    def restore(self, record: KnownJob) -> None:
        """A Job found at the start: shown as its owner left it, and taken up where it stands."""
        record.show(new_state(self._order_of(record)))
        self._read(record)
        if record.job.ended:
            return
        if custody.is_owned(self.folder(record)):
            self._active[record.name] = record
        elif record.written:
            self._launch(record)  # it had a slot
        else:
            self._wait(record)

    def forget(self, record: KnownJob) -> None:
        """The Job is being deleted."""
        record.cancel_timer()
        self._pending.pop(record.name, None)
        if self._active.pop(record.name, None):
            self.fill()

    def refresh(self, record: KnownJob) -> None:
        """Read what the owner wrote last."""
        if record.job.ended or record.removal:
            return
        self._publish(self._read(record))
        if not record.written:
            return
        if self._pending.pop(record.name, None):  # launched by an earlier Nexus with its last breath
            record.cancel_timer()
            self._active[record.name] = record
        if record.job.ended and self._active.pop(record.name, None):
            self.fill()

    def _read(self, record: KnownJob) -> list[Change]:
        line = last_line(str(self.folder(record)))
        try:
            return record.show(line) if line else []
        except msgspec.DecodeError:  # what a power cut made of it; its next owner begins anew
            return []

    def _wait(self, record: KnownJob) -> None:
        self._pending[record.name] = record
        if record.deadline is not None:
            left = record.deadline.timestamp() - time.time()
            record.timer = asyncio.get_running_loop().call_later(left, self._expire, record)

    def fill(self) -> None:
        """Give the free slots to the Jobs that wait longest."""
        while self._pending and len(self._active) < self._slots:
            record = self._pending.pop(next(iter(self._pending)))
            record.cancel_timer()
            order = self._launch(record)
            state = new_state(order)
            schedule(order, state["pods"][0], stamp())
            self._publish(record.show(state))

    def _launch(self, record: KnownJob) -> Order:
        self._active[record.name] = record
        record.launched_at = time.monotonic()
        order = self._order_of(record)
        folder = self.folder(record)
        order["again"] = folder.exists()
        folder.mkdir(mode=0o700, exist_ok=True)
        self._launching.send(order)
        return order

    def _expire(self, record: KnownJob) -> None:
        """The deadline came before a slot did. As in Kubernetes, the pod that never ran goes."""
        if record.removal or custody.is_owned(self.folder(record)):
            return
        state = new_state(self._order_of(record)) | {"pods": []}
        state["job"]["failed"] = 1
        fail(state, *DEADLINE_EXCEEDED, stamp())
        self.folder(record).mkdir(mode=0o700, exist_ok=True)
        write_state(str(self.folder(record)), state)
        del self._pending[record.name]
        self._publish(self._read(record))

    def _hear(self) -> None:
        names = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                names.add(self._events.recv(256).decode())
        for name in names:
            record = self._active.get(name) or self._pending.get(name)
            if record is not None:
                self.refresh(record)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AGAIN)
            for record in [record for record in self._active.values() if not record.removal]:
                with contextlib.suppress(OSError):  # out of file handles, say: the next look may do better
                    self._look_after(record)

    def _look_after(self, record: KnownJob) -> None:
        silent = not custody.is_owned(self.folder(record))
        self.refresh(record)
        started = record.launched_at or 0.0
        if silent and record.name in self._active and time.monotonic() - started > _TIME_TO_START:
            self._launch(record)
