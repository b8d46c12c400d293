"""The process that owns a Job: runs its pods one after another, decides its end, and needs no Nexus for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time

from nexus.embedded.cluster.command import Command, StartError
from nexus.embedded.cluster.logs import termination_message
from nexus.embedded.cluster.policy import BACKOFF_LIMIT_EXCEEDED, DEADLINE_EXCEEDED, delay_before, judge
from nexus.embedded.cluster.processes import Mark, kill_leftovers, resident_bytes
from nexus.embedded.cluster.signals import Signals
from nexus.embedded.cluster.statefile import read_state, write_state
from nexus.embedded.cluster.status import (
    Json,
    condition,
    fail,
    new_pod,
    new_state,
    schedule,
    set_container,
    stamp,
    succeed,
)
from nexus.embedded.cluster.work_order import Order

__all__ = ["DELETED", "EVENTS", "own"]

DELETED = "deleted"
"""The file in a Job's folder that makes SIGTERM mean: kill the command and let go of the Job."""

EVENTS = "events.sock"
"""Where owners say which Job has changed; relative to the root, in which they live."""

_KEPT_PODS = 20  # of a Job that is tried again and again; the logs of older ones go with them
_FIRST_LOOK = 0.1
_DISK_PAUSE = 1.0  # seconds until a state that could not be written is written again
_MEMORY_INTERVAL = 0.2
_MEMORY_SHARE = 20  # looking at memory takes at most one part in so many of the time


class _Deleted(Exception):
    """Somebody else has, or asks for, the right to act for this Job."""


def own(order: Order, me: Mark, signals: Signals, events: socket.socket) -> None:
    """Own the Job until it has ended or is deleted. Runs in the root folder; waits while another owner lives."""
    folder = f"jobs/{order['uid']}"
    try:
        lock = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(folder):  # noqa: PTH110 - it may have been deleted while this waited
            _Owner(order, folder, me, signals, events).run()
    except FileNotFoundError:
        return
    finally:
        os.close(lock)


class _Owner:
    def __init__(self, order: Order, folder: str, me: Mark, signals: Signals, events: socket.socket) -> None:
        self._order = order
        self._folder = folder
        self._signals = signals
        stored = read_state(folder)
        self._found = stored is not None
        self._state = stored or new_state(order)
        self._state["owner"] = me
        self._events = events
        self._events.settimeout(0.5)  # a busy Nexus is waited for, a hanging one is not

    @property
    def _job(self) -> Json:
        job: Json = self._state["job"]
        return job

    @property
    def _pod(self) -> Json:
        pod: Json = self._state["pods"][-1]
        return pod

    @property
    def _ended(self) -> bool:
        return "conditions" in self._job

    def run(self) -> None:
        try:
            if (self._found or self._order["again"]) and not self._ended:
                self._take_up()
            while not self._ended:
                if self._pod["status"]["phase"] == "Failed":
                    self._back_off()
                if not self._ended:
                    self._run_pod()
        except _Deleted:
            self._state["process"] = self._state["owner"] = None
            write_state(self._folder, self._state)

    def _take_up(self) -> None:
        """The owner before this one died, perhaps before it could say what it had started."""
        kill_leftovers(self._order["uid"], self._state["process"])
        if self._found and self._pod["status"]["phase"] != "Failed":
            self._lose()
        self._save()

    def _run_pod(self) -> None:
        if self._overdue():
            self._state["pods"].pop()
            self._expire()
            return
        schedule(self._order, self._pod, stamp())
        if self._order["unresolved"]:
            waiting = {"reason": "CreateContainerConfigError", "message": self._order["unresolved"]}
            set_container(self._order, self._pod, {"waiting": waiting})
            self._save()
            self._sleep(None)
            self._pod["status"]["phase"] = "Failed"
            self._expire()
            return
        log = f"{self._folder}/{self._pod['metadata']['name']}.log"
        started = time.time()
        try:
            command = Command(self._order, log)
        except StartError as error:
            self._finish({"exitCode": 128, "reason": "StartError", "message": str(error)}, started)
            return
        try:
            self._pod["status"]["phase"] = "Running"
            set_container(self._order, self._pod, {"running": {"startedAt": stamp(started)}})
            self._state["process"] = Mark(pid=command.pid, started=started)
            self._save()
            code, out_of_memory = self._watch(command)
        finally:
            command.kill()
        if code == 0:
            self._finish({"exitCode": 0, "reason": "Completed"}, started)
            return
        reason, code = ("OOMKilled", -signal.SIGKILL) if out_of_memory else ("Error", code)
        how = {"exitCode": code if code > 0 else 128 - code, "signal": max(-code, 0), "reason": reason}
        self._finish(how | {"message": termination_message(log)}, started)

    def _watch(self, command: Command) -> tuple[int, bool]:
        """The exit code, -n after signal n, and whether the command was killed for its memory."""
        out_of_memory = False
        memory = self._order["memory"]
        look_at = None if memory is None else time.time() + _FIRST_LOOK
        act_at = self._order["deadline"]
        terminating = False
        while (code := command.poll()) is None:
            due = [at for at in (look_at, act_at) if at is not None]
            self._wait(min(due, default=None))
            now = time.time()
            if act_at is not None and now >= act_at:
                if terminating:
                    command.signal(signal.SIGKILL)
                    act_at = None
                else:
                    terminating = True
                    act_at = now + self._order["grace"]
                    self._pod["metadata"]["deletionTimestamp"] = stamp(now)
                    self._save()
                    command.signal(signal.SIGTERM)
            if memory is not None and look_at is not None and now >= look_at:
                if resident_bytes(command.pid) > memory:
                    out_of_memory = True
                    command.signal(signal.SIGKILL)
                look_at = time.time() + max(_MEMORY_INTERVAL, _MEMORY_SHARE * (time.time() - now))
        return code, out_of_memory

    def _finish(self, terminated: Json, started: float) -> None:
        """The container ended."""
        code = terminated["exitCode"]
        times = {"startedAt": stamp(started), "finishedAt": stamp()}
        set_container(self._order, self._pod, {"terminated": terminated | times})
        self._pod["status"]["phase"] = "Failed" if code else "Succeeded"
        self._state["process"] = None
        if "deletionTimestamp" in self._pod["metadata"]:
            self._expire()
            return
        if code:
            self._count(code, [])
        else:
            succeed(self._state, stamp())
        self._save()

    def _lose(self) -> None:
        """The pod has no owner any more: shown as Kubernetes shows one whose node is gone."""
        gone = condition("DisruptionTarget", "DeletionByPodGC", "PodGC: node no longer exists", stamp())
        status = self._pod["status"]
        status.update(phase="Failed", reason="NodeLost", message="the process that owned this pod died")
        status["conditions"] = [*status.get("conditions", ()), gone]
        self._state["process"] = None
        self._count(None, ["DisruptionTarget"])

    def _count(self, code: int | None, conditions: list[str]) -> None:
        verdict = judge(self._order, self._pod["metadata"]["name"], code, conditions)
        self._job["active"] = 0
        if verdict.action != "Ignore":
            self._job["failed"] = self._job.get("failed", 0) + 1
        if verdict.action == "FailJob":
            fail(self._state, "PodFailurePolicy", verdict.message, stamp())
        elif self._job.get("failed", 0) > self._order["backoff_limit"]:
            fail(self._state, *BACKOFF_LIMIT_EXCEEDED, stamp())

    def _back_off(self) -> None:
        attempts: int = self._state["attempts"]
        if not self._sleep(delay_before(attempts, self._order["retry_delay"])):
            self._expire()
            return
        pods = self._state["pods"]
        while len(pods) >= _KEPT_PODS:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._folder}/{pods.pop(0)['metadata']['name']}.log")  # noqa: PTH108
        pods.append(new_pod(self._order, attempts, stamp()))
        self._state["attempts"] = attempts + 1
        self._job["active"] = 1

    def _expire(self) -> None:
        if self._job["active"] and not self._succeeded():
            self._job["failed"] = self._job.get("failed", 0) + 1
        fail(self._state, *DEADLINE_EXCEEDED, stamp())
        self._save()

    def _succeeded(self) -> bool:
        pods = self._state["pods"]
        return bool(pods) and pods[-1]["status"]["phase"] == "Succeeded"

    def _overdue(self) -> bool:
        deadline = self._order["deadline"]
        return deadline is not None and time.time() >= deadline

    def _sleep(self, seconds: float | None) -> bool:
        """False when the deadline came first; without seconds only that ends it."""
        ends = [] if seconds is None else [time.time() + seconds]
        if self._order["deadline"] is not None:
            ends.append(self._order["deadline"])
        end = min(ends, default=None)
        while end is None or time.time() < end:
            self._wait(end)
        return not self._overdue()

    def _wait(self, until: float | None) -> None:
        """For that time, or for a signal. SIGTERM may be meant for the Job before this one: its folder says so."""
        asked = self._signals.wait(None if until is None else until - time.time())
        if asked and os.path.exists(f"{self._folder}/{DELETED}"):  # noqa: PTH110
            raise _Deleted

    def _save(self) -> None:
        if self._ended:
            self._state["owner"] = None
        while not self._written():
            self._wait(time.time() + _DISK_PAUSE)
        with contextlib.suppress(OSError):  # nobody listens, or not now: the adapter looks again by itself
            self._events.sendto(self._order["name"].encode(), EVENTS)

    def _written(self) -> bool:
        """False where the disk is full, say: what is known here alone is kept until it can be written."""
        try:
            write_state(self._folder, self._state)
        except FileNotFoundError:
            raise
        except OSError:
            return False
        return True
