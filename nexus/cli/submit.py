"""`nexus run`: submit a run, and see it through."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from nexus.cli.options import DEFAULT_URL, Json, Url
from nexus.cli.plain import plain
from nexus.domain.duration import parse_duration
from nexus.domain.errors import InvalidInput
from nexus.domain.events import Parent
from nexus.domain.ids import parse_request_id

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Example: nexus run tsp --payload examples/tsp/berlin52.json --tag nightly",
        rich_help_panel="Runs",
    )(run)


def run(
    algorithm: Annotated[str, typer.Argument(metavar="ALGORITHM", help="The name of its template.")],
    payload: Annotated[
        str, typer.Option(help="A file, - for standard input, or the JSON object itself.")
    ] = "{}",
    config_override: Annotated[
        Path | None, typer.Option(help="A YAML or JSON file with the run's customConfiguration.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="A tag to find the run by.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="The parent of this run.")] = None,
    parent_algorithm: Annotated[
        str | None, typer.Option(metavar="NAME", help="The parent's algorithm.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but create the Job.")] = False,
    key: Annotated[
        str | None,
        typer.Option(help="An idempotency key: a second submission with the same key is the same run."),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id and exit.")] = False,
    timeout: Annotated[str | None, typer.Option(help="How long to follow the run, such as 24h.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Submit a run and follow it to its end.

    Exits with 0 when the run COMPLETED, and with 1 when it ended otherwise.
    """
    within = parse_duration("--timeout", timeout) if timeout else None
    body = _payload(payload)
    configuration = _configuration(config_override)
    asked_by = _parent(parent, parent_algorithm)

    from nexus.cli import following, render
    from nexus.cli.server import connect

    with connect(url) as client:
        request_id = client.submit(
            algorithm,
            body,
            configuration=configuration,
            tag=tag,
            parent=asked_by,
            dry_run=dry_run,
            key=key,
            warn=lambda warning: render.err().print(f"warning: {warning}"),
        )
        if no_wait:
            if as_json:
                render.emit({"requestId": request_id})
            else:
                sys.stdout.write(f"{plain(request_id)}\n")
            return
        if not as_json:
            render.err().print(f"accepted as {request_id}")
        following.finish(client, following.follow(client, url, request_id, within), as_json=as_json)


def _payload(source: str) -> bytes:
    """The bytes as they are, once they are known to be a JSON object."""
    if source == "-":
        body, name = sys.stdin.buffer.read(), "standard input"
    elif source.lstrip().startswith("{"):
        body, name = source.encode(), "what was given"
    else:
        body, name = _read("--payload", Path(source), "a file that can be, - or a JSON object"), source
    try:
        parsed = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidInput("--payload", f"{name} is not JSON ({error}): correct it") from None
    if not isinstance(parsed, dict):
        raise InvalidInput(
            "--payload", f'{name} is not a JSON object: put it into one, such as {{"data": ...}}'
        )
    return body.strip()


def _configuration(file: Path | None) -> dict[str, Any] | None:
    if file is None:
        return None
    import yaml

    try:
        document = yaml.safe_load(_read("--config-override", file, "a file that can be"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput("--config-override", f"{file} is neither YAML nor JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidInput(
            "--config-override", f"{file} is not a mapping such as {{computeResources: {{memoryLimit: 1Gi}}}}"
        )
    return document


def _parent(request_id: str | None, algorithm: str | None) -> Parent | None:
    if request_id is None and algorithm is None:
        return None
    if request_id is None or algorithm is None:
        raise InvalidInput("--parent", "needs --parent-algorithm, and the other way round: give both or none")
    return Parent(request_id=parse_request_id(request_id), algorithm_name=algorithm)


def _read(option: str, file: Path, instead: str) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidInput(
            option,
            f"{str(file)[:200]!r} cannot be read ({getattr(error, 'strerror', None) or error}): give {instead}",
        ) from None
