"""Whatever lies in a folder of manifests: what can be read is, and of the rest it is said which file and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.errors import InvalidInput
from nexus.domain.manifest import TEMPLATE, WORKGROUP, read_template, read_workgroup
from nexus.embedded.manifests import ManifestFile, Manifests, Name
from nexus.embedded.templates import FolderTemplates

HEAD = f"kind: {TEMPLATE}\nmetadata: {{name: bad}}\n"
GOOD = f"""
kind: {TEMPLATE}
metadata: {{name: good}}
spec:
  container: {{image: a, registry: r.example.com, versionTag: "1"}}
  command: python main.py
  workgroupRef: {{name: wg, group: g, kind: k}}
"""
BROKEN = {
    "a tab": HEAD + "spec:\n\tcommand: x\n",
    "an open bracket": HEAD + "spec: {command: [\n",
    "a tag of Python": HEAD + "spec: !!python/object/apply:os.system ['true']\n",
    "a bad number": HEAD + "spec: !!int x\n",
    "an empty number": HEAD + 'spec: !!int ""\n',
    "a bad date": HEAD + "spec: !!timestamp x\n",
    "a bad boolean": HEAD + "spec: !!bool perhaps\n",
    "too many digits": HEAD + f"spec: {'9' * 5000}\n",
    "a list as a key": HEAD + "spec: {[1, 2]: x}\n",
    "aliases that stand for billions": HEAD
    + "spec:\n  a0: &a0 [x, x]\n"
    + "".join(f"  a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "merges that stand for billions": HEAD
    + "spec:\n  a0: &a0 {k: v}\n"
    + "".join(f"  a{n}: &a{n}\n    <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "an alias of itself": HEAD + "spec: &a [*a]\n",
    "deep": HEAD + "spec: " + "[" * 5000 + "]" * 5000 + "\n",
    "control characters": HEAD + "spec: \x01\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_document_breaks_what_it_names(tmp_path: Path, text: str) -> None:
    """Also in the middle of a file, and when it never could be read."""
    path = tmp_path / "both.yaml"
    path.write_text(f"{GOOD}---\n{text}---\n{GOOD.replace('good', 'last')}")
    templates = FolderTemplates(tmp_path)
    assert templates.names() == ["good", "last"]
    with pytest.raises(InvalidInput, match=r"both\.yaml: .") as caught:
        templates.template("bad")
    assert len(str(caught.value)) < 600
    assert [error.field for error in templates.unreadable()] == [str(path)]


ODD_SPECS = {
    "binary": ("container: {image: !!binary aGVsbG8=}", "spec.container.image: is a bytes"),
    "a set": ("args: !!set {a, b}", "spec.args: is a set"),
    "a number as a key": ("runtimeEnvironment: {annotations: {1: x}}", "has the key 1, which is no text"),
    "a number for a text": ("container: {versionTag: 1.10}", "got `float`; write it in quotes"),
    "a truth for a text": ("command: yes", "got `bool`; write it in quotes"),
    "a number without end": (
        "runtimeEnvironment: {environmentVariables: [{name: a, value: .inf}]}",
        r"environmentVariables\[0\].value: inf is a number that JSON does not have",
    ),
    "an unpaired surrogate": (
        r'args: ["--label=\ud800"]',
        r"args\[0\]: has the unpaired surrogate '\\ud800'",
    ),
    "NUL": (r'command: "a\0b"', "spec.command: has a NUL character at position 1"),
    "none": ("", "Expected `object`, got `null`"),
}


@pytest.mark.parametrize(("spec", "problem"), ODD_SPECS.values(), ids=ODD_SPECS.keys())
def test_an_odd_value_is_named(tmp_path: Path, spec: str, problem: str) -> None:
    (tmp_path / "odd.yaml").write_text(f"{HEAD}spec:\n  {spec}\n---{GOOD}")
    templates = FolderTemplates(tmp_path)
    assert templates.names() == ["good"]
    with pytest.raises(InvalidInput, match=problem):
        templates.template("bad")


def test_a_name_that_is_a_number_is_to_be_quoted(tmp_path: Path) -> None:
    (tmp_path / "seven.yaml").write_text(GOOD.replace("good", "007"))
    with pytest.raises(InvalidInput, match="write it in quotes"):
        FolderTemplates(tmp_path).template("007")


def test_a_manifest_without_a_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "nameless.yaml").write_text(f"kind: {TEMPLATE}\nspec: {{}}\n---{GOOD}")
    templates = FolderTemplates(tmp_path)
    assert templates.names() == ["good"]
    assert "metadata.name is required" in str(templates.unreadable()[0])


def test_one_name_twice_is_neither_unless_they_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    assert FolderTemplates(tmp_path).names() == ["good"]
    (tmp_path / "b.yaml").write_text(GOOD.replace("main.py", "other.py"))
    with pytest.raises(InvalidInput, match=r"b\.yaml: defines .* otherwise than .*a\.yaml"):
        FolderTemplates(tmp_path).template("good")


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "round.yaml").symlink_to("round.yaml")
    (tmp_path / "away.yaml").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "huge.yaml").write_text("#" * 2_000_000)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    templates = FolderTemplates(tmp_path)
    assert templates.names() == ["good"]
    problems = {Path(error.field).name: error.problem for error in templates.unreadable()}
    assert set(problems) == {"round.yaml", "away.yaml", "pipe.yaml", "huge.yaml", "binary.yaml"}
    assert problems["binary.yaml"] == "is not UTF-8 at its byte 0"


def test_a_mounted_config_map_shows_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "..2024").mkdir()
    (tmp_path / "..2024" / "good.yaml").write_text(GOOD)
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "good.yaml").symlink_to("..data/good.yaml")
    assert len(Manifests(tmp_path).read()) == 1


def test_a_file_that_cannot_be_read_any_more_keeps_its_names(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    manifests = Manifests(tmp_path)
    manifests.read()
    path.unlink()
    path.symlink_to("good.yaml")
    for _ in range(2):
        (file,) = manifests.read()
        assert isinstance(file, ManifestFile)
        assert file.lost == {Name(TEMPLATE, "good")}


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_raise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "any.yaml").write_bytes(content)
    (folder / "good.yaml").write_text(GOOD)
    assert FolderTemplates(folder).template("good")


SECTIONS = (
    "container", "command", "args", "computeResources", "limits", "requests", "customResources", "cpuLimit",
    "runtimeEnvironment", "environmentVariables", "configurationFileMounts", "annotations", "deadlineSeconds",
    "errorHandlingBehaviour", "payloadConfiguration", "workgroupRef", "name", "image", "cluster", "affinity",
    "tolerations", "valueFrom", "mountPath", "subPath", "value",
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(SECTIONS) | st.text(max_size=3) | st.integers(), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(ANYTHING, ANYTHING)
def test_no_value_is_more_than_invalid(spec: object, section: object) -> None:
    """Of a custom resource, or of a manifest: it is read, or InvalidInput says what is wrong."""
    whole = dict.fromkeys(SECTIONS, section)
    for given_spec in (spec, whole):
        for read in (read_template, read_workgroup):
            try:
                read("name", given_spec)
            except InvalidInput as error:
                str(error).encode()  # a client can be told


def test_kinds_of_others_are_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("kind: ConfigMap\nmetadata: {name: x}\n---\n- 1\n---\nkind: [a]\n")
    assert Manifests(tmp_path).read() == [ManifestFile(tmp_path / "other.yaml")]
    assert FolderTemplates(tmp_path).workgroup(WORKGROUP) is None
