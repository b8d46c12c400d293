"""Reading the log beside the Nexus that writes it: `nexus results` and `nexus replay`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from nexus.cli.options import Algorithm, ConfigFile, Json, Since, State, Until, moment
from nexus.domain.errors import InvalidInput
from nexus.domain.events import Event, RunEnded
from nexus.domain.ids import parse_request_id
from nexus.domain.run import Stage
from nexus.domain.topics import REQUESTS, RESULTS, RUNS, read_event

if TYPE_CHECKING:
    from nexus.ports import EventLog, Record

__all__ = ["register"]

_POLL = 0.2
_CHUNK = 500


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus results --algorithm tsp --json", rich_help_panel="Log")(results)
    app.command(epilog="Example: nexus replay --algorithm tsp --since 24h | jq .type", rich_help_panel="Log")(
        replay
    )


def results(
    state: State = Path(".nexus"),
    config: ConfigFile = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest notification that is kept.")
    ] = False,
    algorithm: Algorithm = None,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Print all that there are, and exit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Follow the notifications of runs that end (the topic nexus.results)."""

    async def tell() -> None:
        from nexus.cli.state import open_log

        async with open_log(state, config) as log:
            async for record in _notifications(
                log, from_start=from_beginning or no_follow, follow=not no_follow
            ):
                event = _ended(record)
                if event and algorithm in {None, event.algorithm}:
                    _show(record, event, as_json)

    asyncio.run(tell())


def replay(
    run: Annotated[str | None, typer.Option(metavar="ID", help="Only events of this run.")] = None,
    algorithm: Algorithm = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="SUBJECT", help="Only what this subject did, such as user:alice or 'token:*'."),
    ] = None,
    since: Since = None,
    until: Until = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Read this topic instead of all requests and nexus.runs; repeatable."),
    ] = None,
    state: State = Path(".nexus"),
    config: ConfigFile = None,
    _as_json: Annotated[
        bool, typer.Option("--json", help="Accepted, and without effect: the output is JSON.")
    ] = True,
) -> None:
    """Print the events of the log in their order, one CloudEvent (JSON) per line."""
    of_run = parse_request_id(run) if run else None
    where = {
        "run": of_run,
        "algorithm": algorithm,
        "by": by,
        "since": moment("--since", since),
        "until": moment("--until", until),
    }
    asyncio.run(_replay(state, config, topic or [], where))


async def _replay(state: Path, config: Path | None, wanted: list[str], where: dict[str, Any]) -> None:
    from nexus.cli.render import emit
    from nexus.cli.state import open_log
    from streams.audit import replay as said

    async with open_log(state, config) as log:
        there = sorted(await log.topics())
        for name in wanted:
            if name not in there:
                raise InvalidInput(
                    "--topic", f"there is no topic {name!r}: the topics are {', '.join(there)}"
                )
        topics = wanted or [name for name in there if name == RUNS or name.startswith(REQUESTS)]
        async for record, event in said(log, topics, **where):
            emit(_cloud_event(record, event))


async def _notifications(log: EventLog, *, from_start: bool, follow: bool) -> AsyncIterator[Record]:
    partitions = range((await log.topics()).get(RESULTS, 0))
    following = {number: 0 if from_start else await log.end(RESULTS, number) for number in partitions}
    while True:
        found: list[Record] = []
        for number, offset in following.items():
            found += await log.read(RESULTS, number, offset, _CHUNK)
        for record in sorted(found, key=lambda record: record.timestamp):
            following[record.position.partition] = record.position.offset + 1
            yield record
        if not found:
            if not follow:
                return
            await asyncio.sleep(_POLL)


def _ended(record: Record) -> RunEnded | None:
    try:
        event = read_event(record.headers, record.value)
    except InvalidInput:
        return None
    return event if isinstance(event, RunEnded) else None


def _show(record: Record, event: RunEnded, as_json: bool) -> None:
    from nexus.cli import render

    if as_json:
        render.emit(_cloud_event(record, event))
        return
    said = " ".join((event.result_uri or event.run_error_message).split())  # one line for each run
    columns = (
        render.instant(event.at),
        event.request_id,
        event.algorithm,
        render.stage(Stage(event.status)),
        said,
    )
    render.out().print(*columns, sep="  ", soft_wrap=True)


def _cloud_event(record: Record, event: Event) -> dict[str, Any]:
    """CloudEvents' structured form; where the record lies is told by extensions."""
    headers = record.headers
    return {
        "specversion": headers.get("ce_specversion", "1.0"),
        "id": headers.get("ce_id", ""),
        "source": headers.get("ce_source", ""),
        "type": headers["ce_type"],
        "subject": headers.get("ce_subject", record.key),
        "time": headers.get("ce_time", event.at.isoformat()),
        "datacontenttype": "application/json",
        "topic": record.position.topic,
        "partition": record.position.partition,
        "offset": record.position.offset,
        "data": msgspec.Raw(record.value),
    }
