"""Who may do what: `nexus token` lets somebody in, `nexus can-i` asks what somebody may do."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexus.cli.options import DEFAULT_URL, Json, Url
from nexus.domain.access import Override, Verb
from nexus.domain.duration import parse_duration
from nexus.domain.errors import ConfigError

if TYPE_CHECKING:
    from nexus.access.static import TokenEntry

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("can-i", epilog="Example: nexus can-i submit tsp --override image", rich_help_panel="Access")(
        can_i
    )
    app.command(
        epilog="Example: nexus token nightly --group routing --file tokens.yaml", rich_help_panel="Access"
    )(token)


def can_i(
    verb: Annotated[Verb, typer.Argument(case_sensitive=False, help="What is to be done.")],
    algorithm: Annotated[
        str | None, typer.Argument(metavar="ALGORITHM", help="With which algorithm. Default: with any.")
    ] = None,
    override: Annotated[
        list[Override] | None,
        typer.Option(help="What a run would choose of its template; repeatable."),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Ask whether the rules allow something, and which rule decides.

    The token is in NEXUS_TOKEN, or in the file that NEXUS_TOKEN_FILE names. Exits with 1 where it is not allowed.
    """
    from nexus.cli import render
    from nexus.cli.server import connect

    with connect(url) as client:
        found = client.access(verb, algorithm, override or ())
    if as_json:
        render.emit(found)
    else:
        answer = render.styled("yes", "green") if found.allowed else render.styled("no", "red")
        render.out().print(answer, f": {found.reason}", sep="")
        if found.allowed and found.subject:
            render.err().print(f"asked as {', '.join((found.subject, *found.groups))}")
        if found.tenant:
            limits = ", ".join(f"{name} {value}" for name, value in found.limits.items())
            render.err().print(f"of the tenant {found.tenant}: {limits}")
    if not found.allowed:
        raise typer.Exit(1)


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is: rules say token:NAME.")],
    group: Annotated[
        list[str] | None, typer.Option(help="A group that it belongs to: rules say group:GROUP; repeatable.")
    ] = None,
    valid_for: Annotated[
        str | None, typer.Option(help="How long it is valid, such as 720h. Default: until it is taken out.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="The file of tokens (auth.tokens_file) that the entry is added to.", dir_okay=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a static token.

    The token is printed once and kept nowhere: the file has its hash. Without --file the entry is printed too, to be put
    there.
    """
    import msgspec
    import yaml

    from nexus.access.static import new_token
    from nexus.cli import render

    expires = datetime.now(UTC) + parse_duration("--valid-for", valid_for) if valid_for else None
    secret, entry = new_token(name, tuple(group or ()), expires)
    if file is not None:
        _add(file, entry)
    if as_json:
        render.emit({"token": secret, "entry": entry})
        return
    sys.stdout.write(f"{secret}\n")
    if file is not None:
        render.err().print(f"added to {file} as token:{name}; this is the only time that the token is shown")
    else:
        render.err().print("put this below `tokens:` in the file that auth.tokens_file names:")
        render.err().print(yaml.safe_dump([msgspec.to_builtins(entry)], sort_keys=False), highlight=False)


def _add(file: Path, entry: TokenEntry) -> None:
    """The file is whole at every moment, for who follows it."""
    from nexus.access.static import add_token

    beside = file.with_name(f"{file.name}.new")
    try:
        content = add_token(file.read_bytes() if file.exists() else b"", entry, str(file))
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
        beside.write_bytes(content)
        beside.chmod(mode)
        beside.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error}): name another with --file") from None
