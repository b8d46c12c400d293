"""Where errors become one line and an exit code: 2 for what the caller can correct, 1 for the rest."""

from __future__ import annotations

import errno
import inspect
import sqlite3
from typing import Any

import typer
from typer.core import TyperGroup

from nexus.cli.plain import plain
from nexus.domain.errors import ConfigError, Conflict, InvalidInput, NexusError

__all__ = ["INTERRUPTED", "Boundary"]

INTERRUPTED = 130
"""What a shell makes of SIGINT."""


class Boundary(TyperGroup):
    """The group of all commands. A mistake in Nexus itself keeps its traceback: it is to be reported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in self.commands.values():
            command.help = command.help and _paragraphs(command.help)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except ExceptionGroup as group:
            # Tasks that fail together: the first that says why is what a person needs.
            known = _first(group)
            if known is None:
                raise
            raise _told(known) from None
        except sqlite3.Error as error:
            raise _told(
                NexusError(
                    f"a database in the state folder cannot be used ({error}): where it is the log, restore the folder from "
                    "a back-up; where it is the projections, make them anew from the log with `nexus rebuild`"
                )
            ) from None
        except (NexusError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            raise _told(error) from None


def _paragraphs(text: str) -> str:
    """Join the lines of each: where a docstring wraps is no end of a line on somebody's terminal."""
    return "\n\n".join(" ".join(each.split()) for each in inspect.cleandoc(text).split("\n\n"))


def _told(error: Exception) -> typer.Exit:
    sentence = " ".join(str(error).split()) or type(error).__name__
    typer.secho(f"error: {plain(sentence)}", fg=typer.colors.RED, err=True)
    return typer.Exit(2 if isinstance(error, ConfigError | Conflict | InvalidInput) else 1)


def _first(group: ExceptionGroup[Exception]) -> NexusError | None:
    for error in group.exceptions:
        found = _first(error) if isinstance(error, ExceptionGroup) else error
        if isinstance(found, NexusError):
            return found
    return None
