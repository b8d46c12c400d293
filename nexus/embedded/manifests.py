"""The YAML manifests below a folder: what cannot be read is reported, and takes nothing else along."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from nexus.domain.manifest import TEMPLATE, WORKGROUP

__all__ = ["SUFFIX", "Manifest", "ManifestFile", "Manifests", "Name"]

SUFFIX = ".yaml"

_KINDS = (TEMPLATE, WORKGROUP)
_LARGEST = 1024 * 1024
"""Bytes of a file: an API server takes no larger object."""
_NODES = 50_000
"""Of a document, with what its aliases stand for."""
_SHOWN = 300
"""Characters of a parser's words."""

_TEXTS = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_BOUNDARY = re.compile(r"^(?=---(?:\s|$))", re.MULTILINE)
"""No scalar of YAML can hold such a line."""
_KIND = re.compile(rf"^[\"']?kind[\"']?\s*:\s*[\"']?({TEMPLATE}|{WORKGROUP})\b", re.MULTILINE)
_NAME = re.compile(
    r"^[\"']?metadata[\"']?\s*:\s*?(?:\{.*?\bname[\"']?\s*:\s*|(?:\n[ \t#].*)*?\n[ \t]+[\"']?name[\"']?\s*:\s*)"
    r"[\"']?([^\s\"',}#]+)",
    re.MULTILINE,
)


class Name(NamedTuple):
    kind: str
    name: str


class Manifest(NamedTuple):
    """A document of one of our kinds. `problem` says what is wrong with its name, which is given as it is written."""

    name: Name
    spec: object
    problem: str = ""


class ManifestFile(NamedTuple):
    """A file as it is. `problem` says what of it cannot be read, and `lost` which names were in there, as far as known."""

    path: Path
    manifests: tuple[Manifest, ...] = ()
    problem: str = ""
    lost: frozenset[Name] = frozenset()


class Manifests:
    """A folder of manifests. A file is parsed again when it has changed; one that breaks keeps the names that it had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed: dict[Path, tuple[tuple[int, ...], ManifestFile]] = {}

    def read(self) -> list[ManifestFile]:
        """Every file as it is now, by path, and what is in the way of reading others. Raises nothing."""
        errors: list[OSError] = []
        parsed: dict[Path, tuple[tuple[int, ...], ManifestFile]] = {}
        seen: set[str] = set()
        for path in _paths(self._folder, errors):
            # A mounted ConfigMap shows each of its files twice.
            if (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                parsed[path] = self._parse(path)
        self._parsed = parsed
        closed = [
            ManifestFile(Path(error.filename or self._folder), problem=_words(error)) for error in errors
        ]
        return [*closed, *(file for _, file in parsed.values())]

    def _parse(self, path: Path) -> tuple[tuple[int, ...], ManifestFile]:
        signature, before = self._parsed.get(path, ((), ManifestFile(path)))
        now: tuple[int, ...] = ()
        try:
            status = path.stat()
            now = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if now == signature:
                return now, before
            file = _read(path, status)
        except (OSError, UnicodeDecodeError) as error:
            file = ManifestFile(path, problem=_words(error))
        if file.problem:
            named = {manifest.name for manifest in file.manifests}
            last = {manifest.name for manifest in before.manifests}
            file = file._replace(lost=(file.lost | before.lost | last) - named)
        return now, file


def _paths(folder: Path, errors: list[OSError]) -> Iterator[Path]:
    """In order. Links to folders are not followed, so that none leads round in a circle."""
    for at, below, files in os.walk(folder, onerror=errors.append):
        below.sort()
        yield from (Path(at, name) for name in sorted(files) if name.endswith(SUFFIX))


def _read(path: Path, status: os.stat_result) -> ManifestFile:
    if not stat.S_ISREG(status.st_mode):  # a pipe would keep its reader for ever
        return ManifestFile(path, problem="is not a file")
    if status.st_size > _LARGEST:
        return ManifestFile(
            path, problem=f"has {status.st_size} bytes, more than the {_LARGEST} of a manifest"
        )
    text = path.read_bytes().decode("utf-8-sig")
    try:
        return ManifestFile(path, tuple(_manifests(text)))
    except Exception as error:
        problem = _words(error)
    whole: list[Manifest] = []
    lost: set[Name] = set()
    for document in _BOUNDARY.split(text):
        try:
            whole += _manifests(document)
        except Exception:
            lost |= set(_names_in(document))
    return ManifestFile(path, tuple(whole), problem, frozenset(lost))


class _Loader(yaml.SafeLoader):
    """Reads a date as the text that it is, as Kubernetes does."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - it is how PyYAML is configured
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _TEXTS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _manifests(text: str) -> Iterator[Manifest]:
    """Of our kinds; others may lie beside them."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _expanded(node, {})
                manifest = _manifest(node, loader.construct_document(node))
                if manifest:
                    yield manifest
    finally:
        loader.dispose()


def _manifest(node: yaml.Node, document: object) -> Manifest | None:
    if not isinstance(document, dict) or document.get("kind") not in _KINDS:
        return None
    name = _member(_member(node, "metadata"), "name")
    if not isinstance(name, yaml.ScalarNode) or not name.value:
        raise yaml.MarkedYAMLError(problem="metadata.name is required", problem_mark=node.start_mark)
    written = isinstance(document["metadata"]["name"], str)
    problem = "" if written else "metadata.name: is read as no text by YAML; write it in quotes"
    return Manifest(Name(document["kind"], name.value), document.get("spec"), problem)


def _member(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    members: list[tuple[yaml.Node, yaml.Node]] = node.value
    return next((value for name, value in members if name.value == key), None)


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of nodes in this one when each alias is what it stands for; few aliases can stand for billions."""
    if id(node) not in known:
        known[id(node)] = _NODES  # what is asked again before it is known contains itself
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    if known[id(node)] >= _NODES:
        problem = f"has more than {_NODES} values, with what its aliases stand for"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return known[id(node)]


def _names_in(document: str) -> Iterator[Name]:
    """What a document that is no YAML seems to name."""
    kind, name = _KIND.search(document), _NAME.search(document)
    if name:
        yield from (Name(of, name[1]) for of in ([kind[1]] if kind else _KINDS))


def _words(error: Exception) -> str:
    """On one line."""
    match error:
        case yaml.MarkedYAMLError(problem=str(problem), problem_mark=yaml.Mark(line=line)):
            return f"line {line + 1}: {problem}"[:_SHOWN]
        case UnicodeDecodeError():
            return f"is not UTF-8 at its byte {error.start}"
        case RecursionError():
            return "is nested too deeply"
        case OSError():
            return error.strerror or str(error)
        case _:
            return (" ".join(str(error).split()) or type(error).__name__)[:_SHOWN]
