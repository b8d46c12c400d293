"""What a submission is told of templates and workgroups that cannot be used as they are deployed."""

from __future__ import annotations

import shutil

import httpx
import pytest

from api.app import create_app
from api.health import Health
from nexus.embedded.templates import FolderTemplates
from tests.streams.conftest import TEMPLATES


@pytest.fixture
def deployed(tmp_path):
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder)
    return folder


@pytest.fixture
async def submit(installation, tmp_path, deployed):
    """Sends a submission of that algorithm to an API that has read the folder, and gives its answer."""

    async def send(algorithm: str) -> httpx.Response:
        services = installation.api_context(tmp_path, templates=FolderTemplates(deployed))
        transport = httpx.ASGITransport(app=create_app(["api"], services, Health(list)))
        async with httpx.AsyncClient(transport=transport, base_url="http://nexus.test") as client:
            answer = await client.post(f"/algorithm/v1/run/{algorithm}", json={"algorithmParameters": {}})
        services.claims.close()
        return answer

    return send


async def test_it_is_told_the_file_and_the_reason(submit, deployed):
    (deployed / "mine.yaml").write_text(
        "kind: NexusAlgorithmTemplate\nmetadata: {name: mine}\nspec: {command: [\n"
    )
    answer = await submit("mine")
    assert answer.status_code == 400
    assert "Its template is broken: " in answer.text
    assert "mine.yaml: line 4: " in answer.text
    assert (await submit("quick")).status_code == 202


async def test_a_name_that_nobody_knows_may_be_in_what_cannot_be_read(submit, deployed):
    (deployed / "locked.yaml").write_bytes(b"\xff")
    answer = await submit("mine")
    assert answer.status_code == 400
    assert answer.text.startswith("No valid configuration found for: mine. ")
    assert "locked.yaml: is not UTF-8 at its byte 0" in answer.text


async def test_a_text_that_cannot_be_sent_is_refused_with_its_place(submit, deployed):
    (deployed / "sur.yaml").write_text(
        "kind: NexusAlgorithmTemplate\nmetadata: {name: sur}\nspec:\n"
        '  container: {image: a, registry: r.example.com, versionTag: "1"}\n  command: python main.py\n'
        '  args: ["--label=\\ud800"]\n  workgroupRef: {name: local, group: g, kind: k}\n'
    )
    answer = await submit("sur")
    assert answer.status_code == 400
    assert r"sur.yaml: spec.args[0]: has the unpaired surrogate '\ud800' at position 8" in answer.text
