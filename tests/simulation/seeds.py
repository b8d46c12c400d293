"""Which seeds are run: those that were kept, and some that follow from the tree."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

__all__ = ["first_of_the_tree", "kept"]

_ROOT = Path(__file__).parents[2]
_KEPT = Path(__file__).with_name("seeds.txt")
_SOURCES = ("nexus", "streams", "api", "tests/simulation")


def kept() -> list[int]:
    """Of `seeds.txt`: a seed, and after a `#` what it once broke."""
    lines = (line.partition("#")[0].strip() for line in _KEPT.read_text().splitlines())
    return [int(line) for line in lines if line]


def first_of_the_tree() -> int:
    """The same for the same sources: what CI runs was run before the commit. Its last four digits are for the seeds."""
    digest = blake2b(digest_size=6)
    for folder in _SOURCES:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(_ROOT).as_posix().encode())
            digest.update(path.read_bytes())
    return int.from_bytes(digest.digest(), "big") // 10_000 * 10_000
