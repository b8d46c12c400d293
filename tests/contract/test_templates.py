"""The contract of the templates: every adapter passes these."""

from __future__ import annotations

import asyncio
import shutil

import pytest
import yaml

from nexus.domain.errors import InvalidInput
from nexus.embedded.templates import FolderTemplates

SPEC = {
    "container": {"image": "i", "registry": "r", "versionTag": "v1"},
    "command": "python main.py",
    "workgroupRef": {
        "name": "wg",
        "group": "science.sneaksanddata.com/v1",
        "kind": "NexusAlgorithmWorkgroup",
    },
}


def manifest(kind: str, name: str, spec: object) -> dict[str, object]:
    return {
        "apiVersion": "science.sneaksanddata.com/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


class Folder:
    """Puts manifests where the adapter finds them."""

    def __init__(self, path):
        self.path = path

    def put(self, kind: str, name: str, spec: object) -> None:
        (self.path / f"{kind}-{name}.yaml").write_text(yaml.safe_dump(manifest(kind, name, spec)))


@pytest.fixture(params=["embedded"])
def deployed(request, tmp_path):
    folder = Folder(tmp_path)
    folder.put("NexusAlgorithmTemplate", "alg", SPEC)
    folder.put("NexusAlgorithmWorkgroup", "wg", {"description": "d", "cluster": "standalone"})
    return folder


@pytest.fixture
async def templates(deployed):
    templates = FolderTemplates(deployed.path)
    following = asyncio.create_task(templates.watch())
    yield templates
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_is_deployed_is_found(templates):
    assert templates.template("alg").spec.command == "python main.py"
    assert templates.workgroup("wg").spec.cluster == "standalone"


async def test_what_is_not_deployed_is_none(templates):
    assert templates.template("wg") is None
    assert templates.workgroup("alg") is None


async def test_a_broken_manifest_breaks_only_itself(deployed):
    deployed.put("NexusAlgorithmTemplate", "bad", SPEC | {"computeResources": {"cpuLimit": "much"}})
    templates = FolderTemplates(deployed.path)
    assert templates.template("alg")
    with pytest.raises(
        InvalidInput, match=r"spec\.computeResources\.cpuLimit: 'much' is not a Kubernetes quantity"
    ):
        templates.template("bad")


async def test_changes_are_followed(deployed, templates):
    deployed.put("NexusAlgorithmTemplate", "new", SPEC)
    await until(lambda: templates.template("new"))
    deployed.put("NexusAlgorithmTemplate", "alg", SPEC | {"command": "other"})
    await until(lambda: templates.template("alg").spec.command == "other")
    (deployed.path / "NexusAlgorithmTemplate-new.yaml").unlink()
    await until(lambda: templates.template("new") is None)


async def test_unreadable_files_are_passed_over(deployed):
    (deployed.path / "broken.yaml").write_text("a: [")
    (deployed.path / "list.yaml").write_text("- 1\n- 2\n")
    (deployed.path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert FolderTemplates(deployed.path).template("alg")


async def test_a_manifest_says_what_it_means_by_a_date(deployed):
    """YAML would read it as one, and there is no 13th month."""
    (deployed.path / "dated.yaml").write_text(
        "kind: NexusAlgorithmTemplate\nmetadata: {name: dated}\nspec:\n"
        "  container: {image: a, registry: r, versionTag: 2024-13-01}\n"
        "  command: python main.py\n  workgroupRef: {name: wg, group: g, kind: k}\n"
    )
    assert FolderTemplates(deployed.path).template("dated").spec.container.version_tag == "2024-13-01"


async def test_a_folder_is_followed_over_whatever_is_put_there(deployed, templates):
    """A file that breaks breaks the names that it had; it takes nothing else along, and comes back."""
    deployed.put("NexusAlgorithmTemplate", "new", SPEC)
    await until(lambda: templates.template("new"))
    path = deployed.path / "NexusAlgorithmTemplate-new.yaml"
    path.write_text("no: [yaml")
    await until(templates.unreadable)
    with pytest.raises(InvalidInput, match=r"NexusAlgorithmTemplate-new\.yaml: line "):
        templates.template("new")
    assert templates.template("alg")
    assert templates.template("elsewhere") is None
    deployed.put("NexusAlgorithmTemplate", "new", SPEC)
    await until(lambda: not templates.unreadable())
    assert templates.template("new")


async def test_a_folder_that_goes_and_comes_back_is_followed(deployed, templates):
    for _ in range(2):
        shutil.rmtree(deployed.path)
        await until(lambda: not templates.names())
        assert "No such file" in str(templates.unreadable()[0])
        deployed.path.mkdir()
        deployed.put("NexusAlgorithmTemplate", "back", SPEC)
        await until(lambda: templates.names() == ["back"])


async def test_manifests_come_and_go_with_their_folder(deployed, templates, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "team").mkdir()
    Folder(elsewhere / "team").put("NexusAlgorithmTemplate", "moved", SPEC)
    (elsewhere / "team").rename(deployed.path / "team")
    await until(lambda: templates.names() == ["alg", "moved"])
    (deployed.path / "team").rename(elsewhere / "away")
    await until(lambda: templates.names() == ["alg"])
