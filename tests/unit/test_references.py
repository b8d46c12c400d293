"""What code, tests and documentation refer to is there: laws, sections, decisions, headings, links, files and names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.simulation.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "docs", "examples", "infra", "nexus", "streams", "tests")
KINDS = {".cql", ".json", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
TEXTS = sorted(
    path
    for top in (*FOLDERS, ".ci")
    for path in (ROOT / top).rglob("*")
    if path.suffix in KINDS and path.is_file() and "__pycache__" not in path.parts
)
TEXTS += [
    ROOT / name
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md", "compose.yaml", "pyproject.toml")
]
PAGES = [path for path in TEXTS if path.suffix == ".md"]
HERE = Path(__file__)

_LAW = re.compile(r"\blaws? (\d+)(?:(?:,| and) (\d+))*", re.IGNORECASE)
_SECTION = re.compile(r"§(\d+(?:\.\d+)?)")
_DECISION = re.compile(r"\bdecisions? (\d+)\b", re.IGNORECASE)
_HEADING_OF = re.compile(r'\b(docs/[\w/-]+\.md), "([^"]+)"')
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(rf"(?<![\w/.~-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w/?)(?:::([\w.]+))?")
_BARE_FILE = re.compile(r"`([\w-]+\.(?:py|md|cql))`")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_laws_sections_and_decisions_are_there(path: Path):
    if path == HERE:
        return
    text = path.read_text(errors="replace")
    laws = {int(number) for match in _LAW.finditer(text) for number in re.findall(r"\d+", match[0])}
    assert laws <= laws_there(), "docs/laws.md has no such law"
    assert set(_SECTION.findall(text)) <= sections_there(), "docs/contract.md has no such section"
    decisions = {int(number) for number in _DECISION.findall(text)}
    assert decisions <= decisions_there(), "docs/decisions has no such record"
    assert not re.search(r"\(design\b|\bdesign\.md\b", text), "name a page of docs/"
    for page, heading in _HEADING_OF.findall(text):
        assert heading in headings(ROOT / page), f"{page} has no heading {heading!r}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path):
    for link in _LINK.findall(without_code(page.read_text())):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in map(slug, headings(target)), f"{link}: there is no such heading"


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix in {".md", ".py"}], ids=relative)
def test_files_and_names_are_there(path: Path):
    if path == HERE or path.name == "CHANGELOG.md":
        return  # a changelog speaks of its time
    text = path.read_text() if path.suffix == ".md" else "\n".join(docstrings_and_comments(path))
    for file, name in _PATH.findall(text):
        there = ROOT / file
        if path.suffix == ".py" and there.suffix not in KINDS:
            continue  # a source of events, or a pattern
        assert there.exists(), f"there is no {file}"
        assert not name or name in names_in(there), f"{file} defines no {name}"
    for file in _BARE_FILE.findall(text) if path.suffix == ".md" else ():
        assert file in file_names(), f"there is no file {file}"


def test_every_law_has_a_mutation_and_every_mutation_is_on_the_page():
    page = " ".join((ROOT / "docs" / "laws.md").read_text().split())
    broken = {int(number) for mutation in MUTATIONS if (number := mutation.law.partition(".")[0]).isdigit()}
    assert broken == laws_there() == set(range(1, 10))
    for mutation in MUTATIONS:
        assert f'"{mutation.what}"' in page, f"docs/laws.md does not name the mutation {mutation.what!r}"


@cache
def laws_there() -> set[int]:
    return {
        int(heading.partition(".")[0])
        for heading in headings(ROOT / "docs" / "laws.md")
        if heading[0].isdigit()
    }


@cache
def sections_there() -> set[str]:
    return {
        heading.split()[0].rstrip(".")
        for heading in headings(ROOT / "docs" / "contract.md")
        if heading[0].isdigit()
    }


@cache
def decisions_there() -> set[int]:
    return {int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}


@cache
def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+?)\s*$", without_code(page.read_text()), re.MULTILINE)


@cache
def file_names() -> set[str]:
    return {path.name for path in TEXTS}


@cache
def names_in(module: Path) -> set[str]:
    return set(_names(ast.parse(module.read_text()).body))


def _names(body: list[ast.stmt], of: str = "") -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef(name=name):
                yield of + name
                yield from _names(node.body, f"{of}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield of + name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield of + name
            case ast.Assign(targets=targets):
                yield from (of + target.id for target in targets if isinstance(target, ast.Name))


def docstrings_and_comments(module: Path) -> Iterator[str]:
    text = module.read_text()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value.value
    yield from (line.strip() for line in text.splitlines() if line.lstrip().startswith("#"))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """What GitHub makes of a heading."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
