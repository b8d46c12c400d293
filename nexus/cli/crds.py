"""`nexus crds`: the custom resource definitions of this version."""

from __future__ import annotations

import sys
from importlib.resources import files

import typer

from nexus.cli.options import Json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: nexus crds | kubectl apply -f -", rich_help_panel="Prepare")(crds)


def crds(as_json: Json = False) -> None:
    """Print the custom resource definitions that this version reads, for kubectl.

    The chart `nexus-crd` installs the same.
    """
    import yaml

    from nexus.cli import render

    found = sorted((files("infra") / "crds").iterdir(), key=lambda file: file.name)
    texts = [file.read_text() for file in found]
    if as_json:
        render.emit({"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(text) for text in texts]})
    else:
        sys.stdout.write("---\n".join(texts))
