"""The page that `make bench` writes, and the figures behind it: what was not measured this time stays as it was."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil

from docs.pages.prose import wrapped
from infra.services import cassandra, kafka, kubernetes
from tests.bench.figures import Pair

__all__ = ["Result", "Row", "keep", "paired"]

_FOLDER = Path(__file__).parents[2] / "docs"
_FIGURES = _FOLDER / "benchmarks.json"
_PAGE = _FOLDER / "benchmarks.md"

_HEAD = """# Benchmarks

Written by `make bench`. Rates are of one small machine and of one moment; what carries over is the ratio to a bare loop that does
the same I/O in the same run. Both sides run in turn, several times; rates are medians, ratios are medians of the rounds' ratios.
[decisions/0007](decisions/0007-where-the-time-goes.md) says what the time is spent on.
"""

_TABLE = """
## {title}

{about}

| what | ours | bare | ratio | expected | {other} |
|---|---|---|---|---|---|
"""

_ABOUT = {
    "embedded": (
        "On the embedded engines",
        "SQLite and local processes: Python packages alone, everything on one machine.",
        "-",
    ),
    "real": (
        "On Kafka, Cassandra and Kubernetes",
        (
            "One process for each role, and all servers, load and roles on the same machine. The last column is the Go original, measured "
            "on a machine of that size with its rate limits lifted."
        ),
        "Go original",
    ),
}


class Row(msgspec.Struct, frozen=True):
    """A line of the table. `bare` and `ratio` are None where there is nothing to compare with."""

    what: str
    ours: float
    unit: str
    bare: float | None = None
    ratio: float | None = None
    expected: str = "-"
    original: str = "-"


class Result(msgspec.Struct, frozen=True):
    rows: Sequence[Row]
    note: str = ""
    """What a reader has to know of the rows."""


class _Kept(msgspec.Struct, frozen=True):
    """A result, and where and when it was measured."""

    result: Result
    measured: str


def paired(what: str, unit: str, figures: Pair, expected: str, original: str = "-") -> Row:
    return Row(what, figures.rate, unit, figures.bare_rate, figures.ratio, expected, original)


def keep(name: str, result: Result) -> None:
    """Put one measurement, named `embedded.<what>` or `real.<what>`, in the place of its last, and write the page."""
    kept = msgspec.json.decode(_FIGURES.read_bytes(), type=dict[str, _Kept]) if _FIGURES.exists() else {}
    kept[name] = _Kept(result, _circumstances(name))
    _FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
    _PAGE.write_text(wrapped(_page(kept)))


def _circumstances(name: str) -> str:
    said = [
        (
            f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, "
            f"{psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}"
        ),
        *(f"{package} {version(package)}" for package in ("litestar", "granian", "msgspec")),
    ]
    if name.startswith("real."):
        said += [f"{package} {version(package)}" for package in ("aiokafka", "cassandra-driver", "aiohttp")]
        said += [
            f"Kafka {kafka.VERSION}",
            f"Cassandra {cassandra.VERSION}",
            f"Kubernetes {kubernetes.VERSION}",
        ]
    return ", ".join(said)


def _page(kept: Mapping[str, _Kept]) -> str:
    text = _HEAD
    for group, (title, about, other) in _ABOUT.items():
        some = {name: each for name, each in sorted(kept.items()) if name.startswith(f"{group}.")}
        if not some:
            continue
        text += _TABLE.format(title=title, about=about, other=other)
        text += "".join(_line(row) for each in some.values() for row in each.result.rows)
        text += "\n" + "".join(f"- {each.result.note}\n" for each in some.values() if each.result.note)
        circumstances: dict[str, list[str]] = {}
        for name, each in some.items():
            circumstances.setdefault(each.measured, []).append(name.partition(".")[2])
        text += "\n" + "".join(
            f"Measured ({', '.join(names)}): {where}.\n" for where, names in circumstances.items()
        )
    return text


def _line(row: Row) -> str:
    bare = "-" if row.bare is None else f"{row.bare:,.0f} {row.unit}"
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    return (
        f"| {row.what} | {row.ours:,.0f} {row.unit} | {bare} | {ratio} | {row.expected} | {row.original} |\n"
    )
