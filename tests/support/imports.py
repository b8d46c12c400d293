"""What a process has imported, as it says itself where PYTHONPROFILEIMPORTTIME is set."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["ENGINES", "VARIABLE", "imported"]

VARIABLE = "PYTHONPROFILEIMPORTTIME"
ENGINES = frozenset({"aiobotocore", "aiohttp", "aiokafka", "botocore", "cassandra", "faust", "kubernetes"})
"""The libraries that speak with servers: each is seconds of a start and tens of MB."""

_LINE = re.compile(r"^import time: +\d+ \| +\d+ \| +(\w+)", re.MULTILINE)


def imported(output: Path) -> set[str]:
    """The top-level names, of what the process wrote to its standard error."""
    names = {*_LINE.findall(output.read_text())}
    assert "nexus" in names, f"{output} says nothing of imports: is {VARIABLE} set?"
    return names
