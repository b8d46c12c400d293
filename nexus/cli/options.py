"""What several commands ask for in the same way, and how it is read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from nexus.domain.duration import is_duration, parse_duration
from nexus.domain.errors import InvalidInput

__all__ = [
    "DEFAULT_URL",
    "Algorithm",
    "ConfigFile",
    "Json",
    "RequestId",
    "Since",
    "State",
    "Until",
    "Url",
    "moment",
]

DEFAULT_URL = "http://127.0.0.1:8080"

_MOMENT = "A time such as 2026-01-31T12:00:00Z, or how long ago, such as 90m."

Url = Annotated[str, typer.Option("--url", envvar="NEXUS_URL", help="The server to ask.")]
State = Annotated[
    Path,
    typer.Option("--state", envvar="NEXUS_STATE", help="The folder that holds all state.", file_okay=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A YAML file with the configuration.")]
RequestId = Annotated[
    str, typer.Argument(metavar="ID", help="The id of the run, as its submission answered it.")
]
Algorithm = Annotated[str | None, typer.Option("--algorithm", help="Only runs of this algorithm.")]
Since = Annotated[str | None, typer.Option("--since", help=f"At or after. {_MOMENT}")]
Until = Annotated[str | None, typer.Option("--until", help=f"Before. {_MOMENT}")]


def moment(option: str, text: str | None) -> datetime | None:
    """A time with its zone, or a span back from now. Raises InvalidInput that names the option."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        if is_duration(text):
            return datetime.now(UTC) - parse_duration(option, text)
        raise InvalidInput(
            option, f"{text[:64]!r} is neither a time such as 2026-01-31T12:00:00Z nor a span such as 90m"
        ) from None
    if at.tzinfo is None:
        raise InvalidInput(option, f"{text!r} needs a time zone, such as {text}Z")
    return at
