"""Templates and workgroups from YAML manifests in a folder, read again when one of them changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog
from watchfiles import Change, awatch

from nexus.domain.errors import InvalidInput
from nexus.domain.manifest import TEMPLATE, read_template, read_workgroup, usable
from nexus.domain.template import Template, Workgroup
from nexus.embedded.manifests import SUFFIX, Manifest, ManifestFile, Manifests
from nexus.ports import Templates

__all__ = ["FolderTemplates"]

_PAUSE = 0.5
"""Seconds until a folder that cannot be followed is looked for again."""

T = TypeVar("T", Template, Workgroup)

_log = structlog.get_logger(__name__)


class _Deployed(NamedTuple):
    templates: dict[str, Template | InvalidInput]
    workgroups: dict[str, Workgroup | InvalidInput]
    directories: dict[str, Path]
    unreadable: list[InvalidInput]


class FolderTemplates(Templates):
    """All `*.yaml` below the folder. A broken manifest breaks what it names, not the rest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifests = Manifests(folder)
        self._told: frozenset[str] = frozenset()
        self._deploy(_arrange(self._manifests.read()))

    def template(self, name: str) -> Template | None:
        return usable(self._deployed.templates.get(name))

    def workgroup(self, name: str) -> Workgroup | None:
        return usable(self._deployed.workgroups.get(name))

    def directory_of(self, algorithm: str) -> Path | None:
        """The folder of the manifest: where a local process of the algorithm runs."""
        return self._deployed.directories.get(algorithm)

    def names(self) -> list[str]:
        return sorted(name for name, found in self._deployed.templates.items() if isinstance(found, Template))

    def unreadable(self) -> Sequence[InvalidInput]:
        return self._deployed.unreadable

    async def watch(self) -> None:
        while True:
            try:
                await self._follow()
            except (
                OSError,
                RuntimeError,
            ) as error:  # its watcher raises the second for what it does not know
                _log.debug("folder_not_followed", folder=str(self._folder), problem=str(error))
            await asyncio.sleep(_PAUSE)

    async def _follow(self) -> None:
        """Until the folder goes: another one of its name has to be followed anew."""
        this = _identity(self._folder)
        await self._reload()
        changes = awatch(
            self._folder,
            watch_filter=_may_matter,
            debounce=100,
            step=20,
            rust_timeout=500,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        begun = False
        async for batch in changes:
            if batch or not begun:  # what changed before it was followed is found at the first time-out
                await self._reload()
                begun = True
            gone = any(kind == Change.deleted and _is(path, self._folder) for kind, path in batch)
            if gone or _identity(self._folder) != this:
                return

    async def _reload(self) -> None:
        self._deploy(_arrange(await asyncio.to_thread(self._manifests.read)))

    def _deploy(self, deployed: _Deployed) -> None:
        """Each problem is logged when it is new: a folder that is away is looked for again and again."""
        self._deployed = deployed
        found = [*deployed.templates.values(), *deployed.workgroups.values(), *deployed.unreadable]
        problems = frozenset(str(each) for each in found if isinstance(each, InvalidInput))
        for problem in sorted(problems - self._told):
            _log.warning("manifest_unusable", problem=problem)
        self._told = problems
        _log.debug("manifests_read", algorithms=self.names())


def _arrange(files: Iterable[ManifestFile]) -> _Deployed:
    """Two manifests of one name that say different things are both refused: nobody could know which is meant."""
    deployed = _Deployed({}, {}, {}, [])
    lost: list[tuple[ManifestFile, InvalidInput]] = []
    sources: dict[tuple[str, str], Path] = {}
    for file in files:
        for manifest in file.manifests:
            first = sources.setdefault(manifest.name, file.path)
            if manifest.name.kind == TEMPLATE:
                _put(deployed.templates, manifest, file.path, first, read_template)
                deployed.directories.setdefault(manifest.name.name, file.path.parent)
            else:
                _put(deployed.workgroups, manifest, file.path, first, read_workgroup)
        if file.problem:
            problem = InvalidInput(str(file.path), file.problem)
            deployed.unreadable.append(problem)
            lost.append((file, problem))
    for file, problem in lost:
        for kind, name in file.lost:
            (deployed.templates if kind == TEMPLATE else deployed.workgroups).setdefault(name, problem)
    return deployed


def _put(
    found: dict[str, T | InvalidInput],
    manifest: Manifest,
    path: Path,
    first: Path,
    read: Callable[[str, object], T],
) -> None:
    kind, name = manifest.name
    value: T | InvalidInput
    if manifest.problem:
        value = InvalidInput(str(path), manifest.problem)
    else:
        try:
            value = read(name, manifest.spec)
        except InvalidInput as error:
            value = InvalidInput(f"{path}: {error.field}", error.problem)
    if name in found and found[name] != value:
        value = InvalidInput(
            str(path), f"defines the {kind} {name} otherwise than {first}; remove one of them"
        )
    found[name] = value


def _may_matter(_: Change, path: str) -> bool:
    """A manifest, or what may be a folder: with one come and go the manifests in it."""
    return path.endswith(SUFFIX) or not os.path.isfile(path)  # noqa: PTH113 - it is asked of every change


def _is(path: str, folder: Path) -> bool:
    return os.path.abspath(path) == os.path.abspath(folder)  # noqa: PTH100 - links are not to be resolved


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
