"""`python -m nexus` is `nexus`."""

from __future__ import annotations

from nexus.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
