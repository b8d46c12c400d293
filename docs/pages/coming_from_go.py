"""The page for users of upstream: made from what `nexus/upstream_settings.py` understands, and from the chart's values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nexus.upstream_settings import SETTINGS

__all__ = ["COMMITTED", "current"]

COMMITTED = Path(__file__).parents[1] / "coming-from-go.md"

_HEAD = """\
# Coming from the Go original

Written by `make pages` from [`nexus/upstream_settings.py`](../nexus/upstream_settings.py).

Clients, algorithms, templates and workgroups work unchanged. What changes is how Nexus is run: it needs a Kafka, it has more roles,
and each has less to do. Secrets with upstream's variables are read as they are: a variable of ours
([configuration](configuration.md)) wins over one of upstream's, and upstream's over the file.

## Variables

Of the scheduler, the receiver, the supervisor and the configuration controller. An empty one sets nothing.

| variable | sets | remarks |
|---|---|---|"""


def current() -> str:
    """The page by the table as it is."""
    return "\n".join([_HEAD, *_rows(), ""])


def _rows() -> Iterator[str]:
    for setting in SETTINGS:
        variables = "<br>".join(f"`{variable}`" for variable in setting.variables)
        keys = "<br>".join(f"`{key}`" for key in setting.becomes) or "nothing"
        yield f"| {variables} | {keys} | {setting.meaning} |"
