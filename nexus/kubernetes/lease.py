"""Leadership: of many processes that could do a work one does it, by a Lease of `coordination.k8s.io`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from nexus.domain.errors import Unavailable
from nexus.kubernetes.api import path, read
from nexus.kubernetes.connection import Connection, Method, refusal
from nexus.ports import Leadership

__all__ = ["Lease"]

_log = structlog.get_logger(__name__)

_LOOKS = 5
"""How often within the duration a leader renews, and others look."""
_GIVE_UP = 2 / 3
"""The part of the duration after which a leader that could not renew stops: its work must end before another's begins."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    name: str
    resource_version: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Object(msgspec.Struct, frozen=True, rename="camel"):
    metadata: _Metadata
    spec: _Spec = _Spec()


class _Held(msgspec.Struct, frozen=True):
    """The Lease while it is ours. `at` is from before the request that renewed it, on this process's own clock."""

    lease: _Object
    at: float


_OBJECT = msgspec.json.Decoder(_Object)


class Lease(Leadership):
    """The right to one work. `holder` names this process and no other, `duration` is in whole seconds."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        name: str,
        *,
        holder: str,
        clock: Callable[[], datetime],
        duration: int = 15,
    ) -> None:
        self._connection = connection
        self._collection = path("/apis/coordination.k8s.io/v1", "namespaces", namespace, "leases")
        self._name = name
        self._holder = holder
        self._clock = clock
        self._duration = duration
        self._seen = ""
        self._seen_since = 0.0

    async def lead(self, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        while True:
            held = await self._acquire()
            term = held.lease.spec.lease_transitions or 0
            _log.info("lease_acquired", lease=self._name, holder=self._holder, term=term)
            doing = asyncio.create_task(work(term))
            keeping = asyncio.create_task(self._keep(held))
            try:
                await asyncio.wait({doing, keeping}, return_when=asyncio.FIRST_COMPLETED)
                returned = doing.done()
            finally:
                # The Lease is kept for as long as the work takes to stop.
                doing.cancel()
                await asyncio.wait({doing})
                keeping.cancel()
                await asyncio.wait({keeping})
                await self._release(term)
            if returned:
                return await doing
            _log.warning("lease_lost", lease=self._name, holder=self._holder, term=term)

    async def _acquire(self) -> _Held:
        while True:
            at = _now()
            try:
                found = await self._find()
                if found is None:
                    taken = await self._write("POST", None, self._ours(term=1))
                elif self._is_free(found, at):
                    taken = await self._write(
                        "PATCH", found, self._ours((found.spec.lease_transitions or 0) + 1)
                    )
                else:
                    taken = None
                if taken is not None:
                    return _Held(taken, at)
            except Unavailable as error:
                _log.warning("lease_not_reached", lease=self._name, problem=str(error))
            await asyncio.sleep(self._duration / _LOOKS)

    async def _keep(self, held: _Held) -> None:
        """Returns when the Lease is lost."""
        while True:
            try:
                async with asyncio.timeout_at(held.at + self._duration * _GIVE_UP):
                    renewed = await self._renew(held.lease)
            except TimeoutError:
                return
            if renewed is None:
                return
            held = renewed

    async def _renew(self, lease: _Object) -> _Held | None:
        term = lease.spec.lease_transitions
        while True:
            await asyncio.sleep(self._duration / _LOOKS)
            at = _now()
            try:
                spec = msgspec.structs.replace(lease.spec, renew_time=self._stamp())
                if (renewed := await self._write("PATCH", lease, spec)) is not None:
                    return _Held(renewed, at)
                # Perhaps it was this process that changed it, and the answer was lost.
                found = await self._find()
            except Unavailable as error:
                _log.warning("lease_not_renewed", lease=self._name, problem=str(error))
                continue
            if found is None or not self._is_ours(found, term):
                return None
            lease = found

    async def _release(self, term: int) -> None:
        """So that nobody has to wait for the Lease to run out."""
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(self._duration / _LOOKS):
                found = await self._find()
                if found is not None and self._is_ours(found, term):
                    spec = msgspec.structs.replace(found.spec, holder_identity=None)
                    await self._write("PATCH", found, spec)

    def _is_free(self, found: _Object, now: float) -> bool:
        """Released, or not renewed for its duration as far as this process saw: it trusts no other clock."""
        if found.metadata.resource_version != self._seen:
            self._seen, self._seen_since = found.metadata.resource_version, now
        duration = found.spec.lease_duration_seconds or self._duration
        return not found.spec.holder_identity or now >= self._seen_since + duration

    def _is_ours(self, found: _Object, term: int | None) -> bool:
        return (found.spec.holder_identity, found.spec.lease_transitions) == (self._holder, term)

    def _ours(self, term: int) -> _Spec:
        now = self._stamp()
        return _Spec(self._holder, self._duration, now, now, term)

    async def _find(self) -> _Object | None:
        body = await read(self._connection, path(self._collection, self._name))
        return None if body is None else _OBJECT.decode(body)

    async def _write(self, method: Method, known: _Object | None, spec: _Spec) -> _Object | None:
        """The Lease as it is then; None where somebody else changed it since it was known."""
        metadata = known.metadata if known else _Metadata(self._name)
        answer = await self._connection.request(
            method,
            path(self._collection, self._name) if known else self._collection,
            msgspec.json.encode(_Object(metadata, spec)),
            content_type="application/merge-patch+json" if known else "application/json",
        )
        if answer.status == 409 or (known and answer.status == 404):
            return None
        if answer.status not in {200, 201}:
            raise Unavailable(f"the Lease {self._name} cannot be written: {refusal(answer)}")
        return _OBJECT.decode(answer.body)

    def _stamp(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _now() -> float:
    return asyncio.get_running_loop().time()
