"""A Job that a cluster refuses for certain is refused at submit, once the cluster was asked; until then it is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
import pytest

from api.app import create_app
from api.health import Health
from api.verdicts import Verdicts
from nexus.domain.errors import Refused, Unavailable
from nexus.embedded.templates import FolderTemplates
from streams.scheduler.judge import Judge
from tests.streams.conftest import MATERIALIZER, Installation
from tests.support.factories import CLUSTER

MANIFESTS = """
kind: NexusAlgorithmTemplate
metadata: {{name: {name}}}
spec:
  container: {{image: a, registry: r.example.com, versionTag: "{tag}"}}
  command: python main.py
  workgroupRef: {{name: {workgroup}}}
---
kind: NexusAlgorithmWorkgroup
metadata: {{name: {workgroup}}}
spec: {{description: d, cluster: {cluster}}}
"""


class Judging:
    """A judge, and an API that hears of its verdicts."""

    def __init__(self, installation: Installation, folder) -> None:
        self.nexus = installation
        self.cluster = installation.cluster
        self.folder = folder / "templates"
        self.folder.mkdir()
        self.state = folder
        self.deploy("alg")
        self.judge = self.judge_anew()
        self.verdicts = Verdicts(installation.store, {CLUSTER}, installation.clock)

    def deploy(self, name: str, tag: str = "1", cluster: str = CLUSTER) -> None:
        text = MANIFESTS.format(name=name, tag=tag, workgroup=f"of-{name}", cluster=cluster)
        (self.folder / f"{name}.yaml").write_text(text)

    def judge_anew(self) -> Judge:
        self.templates = FolderTemplates(self.folder)
        return Judge(self.nexus.context, self.cluster, self.templates, MATERIALIZER)

    async def look(self) -> int:
        """How many Jobs the cluster was asked about in a look at what is deployed now."""
        asked = len(self.cluster.judged)
        await self.templates._reload()
        await self.judge.look()
        await self.verdicts.refresh()
        return len(self.cluster.judged) - asked

    async def submit(self, name: str = "alg", **members: Any) -> httpx.Response:
        services = self.nexus.api_context(self.state, templates=self.templates, verdicts=self.verdicts)
        transport = httpx.ASGITransport(app=create_app(["api"], services, Health(list)))
        async with httpx.AsyncClient(transport=transport, base_url="http://nexus.test") as client:
            answer = await client.post(
                f"/algorithm/v1/run/{name}", json={"algorithmParameters": {}} | members
            )
        services.claims.close()
        return answer


@pytest.fixture
def judging(installation, tmp_path):
    return Judging(installation, tmp_path)


def refuses(image: str) -> Any:
    """A cluster that refuses Jobs of this image."""

    def verdict(job: Mapping[str, Any]) -> Refused | None:
        there = job["spec"]["template"]["spec"]["containers"][0]["image"]
        return Refused(422, 'Job.batch "x" is invalid: spec.template') if there == image else None

    return verdict


async def test_without_a_verdict_it_is_accepted(judging):
    judging.cluster.verdict = refuses("r.example.com/a:1")
    assert (await judging.submit()).status_code == 202


async def test_a_refused_one_is_told_the_clusters_words(judging):
    judging.cluster.verdict = refuses("r.example.com/a:1")
    assert await judging.look() == 1
    answer = await judging.submit()
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("No valid configuration found for: alg. ")
    assert 'the cluster answered 422: Job.batch "x" is invalid: spec.template' in answer.text
    assert await judging.nexus.records("nexus.requests.standalone") == []


async def test_overrides_are_judged_by_the_rules_alone(judging):
    """They make another Job, which nobody asked about; those that change nothing make the same."""
    judging.cluster.verdict = refuses("r.example.com/a:1")
    await judging.look()
    same = {"customConfiguration": {"container": {"versionTag": "1"}}}
    other = {"customConfiguration": {"container": {"versionTag": "2"}}}
    assert (await judging.submit(**same)).status_code == 400
    assert (await judging.submit(**other)).status_code == 202


async def test_each_version_is_asked_about_once(judging):
    judging.deploy("elsewhere", cluster="us")
    assert [await judging.look(), await judging.look()] == [1, 0]
    judging.deploy("alg", tag="2")
    judging.deploy("other")
    assert [await judging.look(), await judging.look()] == [2, 0]
    (judging.folder / "alg.yaml").unlink()
    assert await judging.look() == 0
    judging.deploy("alg", tag="2")
    assert await judging.look() == 1


async def test_another_version_of_the_cluster_is_asked_anew(judging):
    await judging.look()
    judging.cluster.release = "1.1"
    assert await judging.look() == 1


async def test_a_cluster_that_was_unreachable_is_asked_anew(judging):
    await judging.look()
    judging.cluster.away = True
    with pytest.raises(Unavailable):
        await judging.look()
    judging.cluster.away = False
    assert await judging.look() == 1


async def test_a_refused_one_is_asked_about_again_and_taken_when_it_is_mended(judging):
    judging.cluster.verdict = refuses("r.example.com/a:1")
    await judging.look()
    judging.cluster.verdict = lambda _: None
    judging.nexus.clock.advance(59)
    assert await judging.look() == 0
    judging.nexus.clock.advance(2)
    assert [await judging.look(), await judging.look()] == [1, 0]
    assert (await judging.submit()).status_code == 202


@pytest.mark.parametrize(
    "error",
    [
        Refused(429, "too many requests"),
        Refused(500, "etcd leader changed"),
        Refused(403, "exceeded quota"),
        Refused(401, "Unauthorized"),
        Refused(404, 'namespaces "nexus" not found'),
        Refused(400, 'admission webhook "w" denied the request: not today'),
        Refused(400, "admission webhook w does not support dry run"),
    ],
    ids=str,
)
async def test_what_is_of_the_moment_is_no_verdict(judging, error):
    judging.cluster.verdict = lambda _: error
    assert [await judging.look(), await judging.look()] == [1, 0]
    assert (await judging.submit()).status_code == 202
    judging.nexus.clock.advance(61)
    assert await judging.look() == 1


async def test_a_refusal_that_nobody_repeats_is_forgotten(judging):
    """Where no scheduler asks any more, nobody would hear that it was mended."""
    judging.cluster.verdict = refuses("r.example.com/a:1")
    await judging.look()
    judging.nexus.clock.advance(9 * 60)
    assert (await judging.submit()).status_code == 400
    judging.nexus.clock.advance(2 * 60)
    assert (await judging.submit()).status_code == 202


async def test_a_broken_template_takes_no_other_along(judging):
    judging.deploy("good")
    (judging.folder / "alg.yaml").write_text("kind: [")
    assert await judging.look() == 1


async def test_a_scheduler_that_starts_later_overrules_what_was_said(judging):
    judging.cluster.verdict = refuses("r.example.com/a:1")
    await judging.look()
    judging.cluster.verdict = lambda _: None
    judging.judge = judging.judge_anew()
    await judging.look()
    assert (await judging.submit()).status_code == 202


async def test_it_is_the_job_of_a_submission_that_is_judged(judging):
    await judging.look()
    [judged] = judging.cluster.judged
    request = judging.nexus.request(1)
    made = MATERIALIZER.job(request, "http://payload")
    assert msgspec.json.encode(judged)
    assert judged.keys() == made.keys()
    assert judged["spec"].keys() <= made["spec"].keys() | {"backoffLimit", "activeDeadlineSeconds"}
