"""The templates of the chart `nexus-crd`: made from `infra/crds`, which `kubectl apply` takes as they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

__all__ = ["COMMITTED", "current"]

_INFRA = Path(__file__).parents[2] / "infra"

_LABELS = {
    "app.kubernetes.io/name": "nexus",
    "app.kubernetes.io/version": "{{ .Chart.AppVersion }}",
    "app.kubernetes.io/managed-by": "{{ .Release.Service }}",
}
# With a definition all its objects go.
_KEPT = {"helm.sh/resource-policy": "keep"}


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # of the anchors that save writing there
        return True


def current(definition: Path) -> str:
    """The template of one definition."""
    document = yaml.safe_load(definition.read_text())
    document["metadata"] |= {"labels": _LABELS, "annotations": _KEPT}
    written = yaml.dump(document, Dumper=_Plain, sort_keys=False, width=1000)
    return f"# Written by `make pages` from infra/crds/{definition.name}.\n{written}"


COMMITTED: dict[Path, Callable[[], str]] = {
    _INFRA / "helm/nexus-crd/templates" / definition.name: partial(current, definition)
    for definition in sorted((_INFRA / "crds").glob("*.yaml"))
}
"""Each template, and what writes it."""
