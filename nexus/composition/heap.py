"""How a process that works through many events keeps Python's garbage collector from looking at the same objects again and again."""

from __future__ import annotations

import gc

__all__ = ["settle"]

_ALLOCATIONS = 20_000
"""Net allocations between two looks at the young. A request makes about a hundred, nearly all freed without a look."""


def settle() -> None:
    """Call once start-up is done: what it made stays. Measured: a fifth of the CPU time of a submission."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)
