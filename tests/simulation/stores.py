"""Run store, claims and payloads in memory, and the ports to them from one process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from nexus.domain.events import decode_event, event_id
from nexus.domain.figures import Figures
from nexus.domain.reachability import Contact
from nexus.domain.run import Run, Stage
from nexus.domain.verdict import Verdict
from nexus.ports import Claim, Folded, FoldedFact, HistoryEntry, Partition, RunFilter, StoredPayload
from tests.simulation.network import Network

__all__ = ["ClaimsModel", "Projections", "SimulatedClaims", "SimulatedPayloads", "SimulatedRunStore"]

_NEVER = datetime.min.replace(tzinfo=UTC)


class Projections:
    """The rows. Whose position in the log is higher stands, whoever comes last: a zombie's late write loses."""

    def __init__(self) -> None:
        self.rows: dict[str, Run] = {}
        self.entries: dict[str, dict[str, FoldedFact]] = defaultdict(dict)
        self.payloads: dict[str, bytes] = {}
        self.heard: dict[tuple[str, str], datetime] = {}
        self.verdicts: dict[tuple[str, str], Verdict] = {}
        self.figures: dict[tuple[str, str], Figures] = {}
        self.folded: dict[Partition, datetime] = {}
        self.advanced: Callable[[Mapping[Partition, datetime]], None] = lambda _: None
        """Called before each step of the watermark."""
        self.contradicted: Callable[[Run, Run], None] = lambda _, __: None
        """Called where two ledgers that folded the same facts came to different rows."""

    def put(self, change: Folded) -> None:
        run = change.run
        there = self.rows.get(run.id)
        if there is None or run.position > there.position:
            self.rows[run.id] = run
        elif run.position == there.position and run != there:
            self.contradicted(there, run)
        entries = self.entries[run.id]
        for entry in change.history:
            known = entries.get(entry.event_id)
            if known is None or entry.offset < known.offset:
                entries[entry.event_id] = entry
        if change.payload is not None:
            self.payloads.setdefault(run.id, change.payload)

    def history(self, request_id: str) -> list[HistoryEntry]:
        run = self.rows.get(request_id)
        if run is None:
            return []
        entries = sorted(self.entries[request_id].values(), key=lambda entry: entry.offset)
        return [
            HistoryEntry(-1, event_id(run.request), run.request),
            *(HistoryEntry(fact.offset, fact.event_id, decode_event(fact.event)) for fact in entries),
        ]

    def find(self, where: RunFilter, limit: int, after: str) -> list[Run]:
        found = [run for run in self.rows.values() if _holds(where, run) and (not after or run.id < after)]
        return sorted(found, key=lambda run: run.id, reverse=True)[:limit]

    def due(self, at: datetime, limit: int) -> list[Run]:
        found = [run for run in self.rows.values() if run.stage is Stage.BUFFERED and _due(run) <= at]
        return sorted(found, key=_due)[:limit]

    def running(self, before: datetime, limit: int, after: str) -> list[Run]:
        found = [
            run
            for run in self.rows.values()
            if run.stage is Stage.RUNNING and run.last_modified < before and run.id > after
        ]
        return sorted(found, key=lambda run: run.id)[:limit]

    def uncollected(self, before: datetime, limit: int) -> list[Run]:
        found = [
            (run.ended_at, run.id, run)
            for run in self.rows.values()
            if run.ended_at and run.has_job and run.ended_at < before
        ]
        return [run for _, _, run in sorted(found)[:limit]]

    def advance(self, folded: Mapping[Partition, datetime]) -> None:
        self.advanced(folded)
        for partition, until in folded.items():
            self.folded[partition] = max(until, self.folded.get(partition, until))

    def expect(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            self.folded.setdefault(partition, _NEVER)

    def note_contacts(self, contacts: Sequence[Contact]) -> None:
        for each in contacts:
            key = each.cluster, each.identity
            self.heard[key] = max(each.at, self.heard.get(key, each.at))

    def waited_for(self) -> dict[Partition, datetime | None]:
        return {at: None if until == _NEVER else until for at, until in self.folded.items()}

    def watermark(self) -> datetime | None:
        watermark = min(self.folded.values(), default=_NEVER)
        return None if watermark == _NEVER else watermark


class SimulatedRunStore:
    def __init__(self, projections: Projections, network: Network) -> None:
        self._there = projections
        self._network = network

    async def get(self, request_id: str) -> Run | None:
        saw = self._network.saw()

        def look() -> Run | None:
            run = self._there.rows.get(request_id)
            saw(request_id, run)
            return run

        return await self._read(look)

    async def get_many(self, request_ids: Sequence[str]) -> dict[str, Run]:
        rows = self._there.rows
        return await self._read(lambda: {key: rows[key] for key in request_ids if key in rows})

    async def payload(self, request_id: str) -> bytes | None:
        return await self._read(lambda: self._there.payloads.get(request_id))

    async def history(self, request_id: str) -> list[HistoryEntry]:
        return await self._read(lambda: self._there.history(request_id))

    async def find(self, where: RunFilter, limit: int, after: str = "") -> list[Run]:
        return await self._read(lambda: self._there.find(where, limit, after))

    async def due(self, at: datetime, limit: int) -> list[Run]:
        return await self._read(lambda: self._there.due(at, limit))

    async def running(self, before: datetime, limit: int, after: str = "") -> list[Run]:
        return await self._read(lambda: self._there.running(before, limit, after))

    async def uncollected(self, before: datetime, limit: int) -> list[Run]:
        return await self._read(lambda: self._there.uncollected(before, limit))

    async def write(self, changes: Sequence[Folded]) -> None:
        """Each run's change by itself: some arrive before others, and some do not."""
        if len(changes) == 1:
            await self._put(changes[0])
            return
        for problem in await asyncio.gather(*map(self._put, changes), return_exceptions=True):
            if isinstance(problem, BaseException):
                raise problem

    async def _put(self, change: Folded) -> None:
        run = change.run
        what = f"write {run.id[-4:]} at {run.position}: {run.stage.value}"
        await self._network.change("store", what, lambda: self._there.put(change))

    async def expect(self, partitions: Collection[Partition]) -> None:
        await self._network.change("store", "", lambda: self._there.expect(partitions))

    async def advance(self, folded: Mapping[Partition, datetime]) -> None:
        await self._network.change("store", "", lambda: self._there.advance(folded))

    async def folded(self) -> Mapping[Partition, datetime | None]:
        return await self._read(self._there.waited_for)

    async def watermark(self) -> datetime | None:
        return await self._read(self._there.watermark)

    async def note_contacts(self, contacts: Sequence[Contact]) -> None:
        await self._network.change("store", "", lambda: self._there.note_contacts(contacts))

    async def contacts(self) -> list[Contact]:
        return await self._read(lambda: [Contact(*key, at) for key, at in sorted(self._there.heard.items())])

    async def note_figures(self, figures: Sequence[Figures]) -> None:
        noted = {(each.cluster, each.source): each for each in figures}
        await self._network.change("store", "", lambda: self._there.figures.update(noted))

    async def figures(self) -> list[Figures]:
        return await self._read(lambda: [self._there.figures[key] for key in sorted(self._there.figures)])

    async def judged(self, verdicts: Sequence[Verdict]) -> None:
        said = {(each.cluster, each.digest): each for each in verdicts}
        await self._network.change("store", "", lambda: self._there.verdicts.update(said))

    async def verdicts(self, cluster: str) -> list[Verdict]:
        return await self._read(
            lambda: [verdict for verdict in self._there.verdicts.values() if verdict.cluster == cluster]
        )

    async def _read(self, effect: Callable[[], object]) -> object:
        return await self._network.read("store", effect)


class ClaimsModel:
    def __init__(self) -> None:
        self.standing: dict[tuple[str, str], Claim] = {}


class SimulatedClaims:
    def __init__(self, model: ClaimsModel, network: Network) -> None:
        self._model = model
        self._network = network

    async def claim(self, algorithm: str, key: str, claim: Claim) -> Claim:
        what = f"claim {key!r} of {algorithm}"
        return await self._network.change(
            "claims", what, lambda: self._model.standing.setdefault((algorithm, key), claim)
        )


class SimulatedPayloads:
    """`bodies` are those of the store that all processes share, each with when it was put."""

    def __init__(
        self, bodies: dict[str, tuple[bytes, datetime]], clock: Callable[[], datetime], network: Network
    ) -> None:
        self._bodies = bodies
        self._clock = clock
        self._network = network

    async def put(self, key: str, body: bytes) -> str:
        def put() -> None:
            self._bodies[key] = body, self._clock()

        await self._network.change("payloads", f"put {key[-4:]}", put)
        return f"memory://payloads/{key}"

    async def put_pieces(self, key: str, pieces: AsyncIterator[bytes]) -> str:
        return await self.put(key, b"".join([piece async for piece in pieces]))

    async def get(self, key: str) -> bytes | None:
        return await self._network.read("payloads", lambda: self._bodies.get(key, (None,))[0])

    async def part(self, key: str, start: int, size: int) -> bytes | None:
        body = await self.get(key)
        return None if body is None else body[start : start + size]

    async def delete(self, key: str) -> None:
        await self._network.change("payloads", f"delete {key[-4:]}", lambda: self._bodies.pop(key, None))

    async def stored(self, after: str, limit: int) -> list[StoredPayload]:
        def found() -> list[StoredPayload]:
            keys = sorted(key for key in self._bodies if key > after)[:limit]
            return [StoredPayload(key, self._bodies[key][1]) for key in keys]

        return await self._network.read("payloads", found)


def _due(run: Run) -> datetime:
    return min(run.request.placement_deadline, run.deferred_until or run.request.placement_deadline)


def _holds(where: RunFilter, run: Run) -> bool:
    request = run.request
    return (
        where.algorithm in {None, request.algorithm}
        and where.stage in {None, run.stage}
        and (where.tag is None or where.tag == run.tag != "")
        and (
            where.parent is None
            or (request.parent is not None and request.parent.request_id == where.parent != "")
        )
        and (where.since is None or request.at >= where.since)
        and (where.until is None or request.at < where.until)
    )
