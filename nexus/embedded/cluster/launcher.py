"""The fork server: a small warm process that gives each order on its standard input to an owner.

Run in the cluster's root folder. An argument is the number of a socket to bind there, under a relative
name because the root's own may be too long for a socket. It says when it is ready, and exits when its input
closes; owners at work stay. An owner without work is kept for a moment: to use it again costs a fraction of a fork.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib  # noqa: F401 - for `uuid5`, once here and not in every owner
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import BinaryIO

from nexus.embedded.cluster.owner import EVENTS, own
from nexus.embedded.cluster.processes import Mark
from nexus.embedded.cluster.signals import Signals
from nexus.embedded.cluster.work_order import Order

__all__ = ["main"]

_IDLE_TIME = 1.0  # seconds


def main() -> None:
    if len(sys.argv) > 1:
        _bind(int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for an owner: its lock tells of its life
    gc.freeze()  # collections in the owners leave the pages shared
    os.write(1, b"ready\n")
    os.dup2(2, 1)
    _Launcher().run()


def _bind(number: int) -> None:
    listening = socket.socket(fileno=number)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(EVENTS)  # noqa: PTH108 - what a killed Nexus left
    listening.bind(EVENTS)
    os.chmod(EVENTS, 0o600)  # noqa: PTH101
    listening.close()


class _Launcher:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._channels: set[socket.socket] = set()
        self._idle: dict[socket.socket, float] = {}  # since when, the longest first

    def run(self) -> None:
        part = b""
        while True:
            ready = [key.fileobj for key, _ in self._selector.select(_IDLE_TIME if self._idle else None)]
            for channel in ready:
                if isinstance(channel, socket.socket):
                    self._hear(channel)
            if 0 in ready:
                received = os.read(0, 1 << 20)
                if not received:
                    return
                *lines, part = (part + received).split(b"\n")
                for line in lines:
                    self._give(line)
            self._dismiss()

    def _hear(self, channel: socket.socket) -> None:
        """The owner has nothing to do any more, or is dead."""
        try:
            alive = bool(channel.recv(1))
        except OSError:
            alive = False
        if alive:
            self._idle[channel] = time.monotonic()
        else:
            self._close(channel)

    def _give(self, line: bytes) -> None:
        while self._idle:
            channel, _ = self._idle.popitem()
            try:
                channel.sendall(line + b"\n")
            except OSError:
                self._close(channel)
            else:
                return
        self._fork(line)

    def _fork(self, line: bytes) -> None:
        if json.loads(line)["memory"] is not None:
            import psutil  # noqa: F401 - once here, not in every owner
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            for channel in (ours, *self._channels):
                channel.close()  # an owner that waits has to see the launcher's end
            _serve(theirs, line)
        theirs.close()
        self._channels.add(ours)
        self._selector.register(ours, selectors.EVENT_READ)

    def _dismiss(self) -> None:
        limit = time.monotonic() - _IDLE_TIME
        for channel in [channel for channel, since in self._idle.items() if since < limit]:
            self._close(channel)

    def _close(self, channel: socket.socket) -> None:
        self._idle.pop(channel, None)
        self._channels.discard(channel)
        self._selector.unregister(channel)
        channel.close()


def _serve(channel: socket.socket, line: bytes) -> None:
    """The life of an owner: one Job at a time, until it is dismissed. Does not return."""
    try:
        me = Mark(pid=os.getpid(), started=time.time())
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signals = Signals()
        events = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        orders = channel.makefile("rb")
        while line:
            order: Order = json.loads(line)
            own(order, me, signals, events)
            line = _next(channel, orders)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _next(channel: socket.socket, orders: BinaryIO) -> bytes:
    """Say that the Job is done; the next order, empty when there will be none."""
    try:
        channel.sendall(b".")
        return orders.readline()
    except ConnectionError:  # the launcher is gone
        return b""


if __name__ == "__main__":
    main()
