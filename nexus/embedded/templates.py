"""Templates and workgroups from YAML manifests in a folder, read again when one of them changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
import yaml
from watchfiles import Change, awatch

from nexus.domain.errors import InvalidInput
from nexus.domain.manifest import TEMPLATE, WORKGROUP, read_template, read_workgroup, usable
from nexus.domain.template import Template, Workgroup
from nexus.ports import Templates

__all__ = ["FolderTemplates"]

_log = structlog.get_logger(__name__)


class FolderTemplates(Templates):
    """All `*.yaml` below the folder. A broken manifest breaks what it names, not the rest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.reload()

    def template(self, name: str) -> Template | None:
        return usable(self._templates.get(name))

    def workgroup(self, name: str) -> Workgroup | None:
        return usable(self._workgroups.get(name))

    def directory_of(self, algorithm: str) -> Path | None:
        """The folder of the manifest: where a local process of the algorithm runs."""
        return self._directories.get(algorithm)

    def names(self) -> list[str]:
        return sorted(name for name, found in self._templates.items() if isinstance(found, Template))

    def reload(self) -> None:
        templates: dict[str, Template | InvalidInput] = {}
        workgroups: dict[str, Workgroup | InvalidInput] = {}
        directories = {}
        for path, manifest in _manifests(self._folder):
            name = str(manifest.get("metadata", {}).get("name", ""))
            kind, spec = manifest.get("kind"), manifest.get("spec", {})
            try:
                if kind == TEMPLATE:
                    templates[name] = read_template(name, spec)
                    directories[name] = path.parent
                elif kind == WORKGROUP:
                    workgroups[name] = read_workgroup(name, spec)
            except InvalidInput as error:
                broken = InvalidInput(f"{path}: {error.field}", error.problem)
                (templates if kind == TEMPLATE else workgroups)[name] = broken
                _log.warning("manifest_invalid", problem=str(broken))
        self._templates, self._workgroups, self._directories = templates, workgroups, directories

    async def watch(self) -> None:
        async for _ in awatch(
            self._folder, watch_filter=_is_manifest, debounce=100, step=20, rust_timeout=500
        ):
            self.reload()
            _log.info("manifests_reloaded", algorithms=self.names())


def _is_manifest(_: Change, path: str) -> bool:
    return path.endswith(".yaml")


def _manifests(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.rglob("*.yaml")):
        try:
            documents = list(yaml.safe_load_all(path.read_text()))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            _log.warning("manifest_unreadable", path=str(path), problem=str(error))
            continue
        for document in documents:
            if isinstance(document, dict) and isinstance(document.get("metadata"), dict):
                yield path, document
