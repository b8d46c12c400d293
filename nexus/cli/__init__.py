"""The command line: `nexus`."""

from __future__ import annotations

from nexus.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """The console script."""
    app()
