"""`nexus topics`, on a broker of its own, for the names of the topics are fixed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
import yaml
from typer.testing import CliRunner

from nexus.cli import app
from nexus.config import Config, Kafka, load
from nexus.domain.errors import ConfigError
from nexus.kafka.admin import Admin, Topic
from nexus.kafka.client import connection
from nexus.kafka.topics import add_cluster, wanted

NAMES = [
    "nexus.requests.a",
    "nexus.runs",
    "nexus.observations",
    "nexus.results",
    "nexus.dead-letters",
    "nexus.clusters",
]
LATER = "nexus.requests.later"


@pytest.fixture
def run(settings: Kafka, tmp_path) -> Iterator[object]:
    """The command, with sections of the configuration; topics go when the test ends."""

    def topics(*arguments: str, **sections: object):
        file = tmp_path / "nexus.yaml"
        defaults = {"kafka": {"servers": settings.servers}, "cluster": {"name": "a"}}
        for section, values in sections.items():
            defaults[section] = defaults.get(section, {}) | values
        file.write_text(yaml.safe_dump(defaults))
        return CliRunner().invoke(app, ["topics", "--config", str(file), *arguments])

    yield topics
    asyncio.run(_delete(settings))


async def _delete(settings: Kafka) -> None:
    async with Admin(connection(settings)) as admin:
        await admin.delete([*NAMES, LATER])
        while await admin.topics([*NAMES, LATER]):
            await asyncio.sleep(0.05)


def states(result) -> dict[str, tuple[str, int, list[str]]]:
    return {
        each["topic"]: (each["state"], each["partitions"], each["problems"])
        for each in json.loads(result.stdout)
    }


def test_topics_are_made_once(run):
    result = run("--development", "--json")
    assert result.exit_code == 0
    assert {name: state for name, (state, _, _) in states(result).items()} == dict.fromkeys(NAMES, "made")
    again = run("--development", "--json")
    assert again.exit_code == 0
    assert states(again) == {
        **dict.fromkeys(NAMES, ("there", 8, [])),
        "nexus.dead-letters": ("there", 1, []),
        "nexus.clusters": ("there", 1, []),
    }
    assert "nexus.runs" in run("--development").stdout


def test_to_check_changes_nothing(run):
    for _ in range(2):
        result = run("--development", "--json", "--check")
        assert result.exit_code == 1
        assert states(result)["nexus.runs"] == ("missing", 0, ["make it with `nexus topics`"])


def test_requests_grow_and_runs_do_not(run):
    run("--development")
    more = {"log": {"request_partitions": 10, "run_partitions": 10}}
    checked = run("--development", "--json", "--check", **more)
    assert "add them with `nexus topics`" in states(checked)["nexus.requests.a"][2][0]
    grown = run("--development", "--json", **more)
    assert grown.exit_code == 1
    assert states(grown)["nexus.requests.a"] == ("grown", 10, [])
    [problem] = states(grown)["nexus.runs"][2]
    assert problem == "it has 8 partitions, 10 are configured: configure 8, for this cannot be changed"


def test_what_differs_is_named_with_what_to_do(run, settings):
    unclean = Topic("nexus.results", 4, 1, {"unclean.leader.election.enable": "true"})
    asyncio.run(_create(settings, unclean))
    result = run("--development", "--json")
    assert result.exit_code == 1
    state, partitions, problems = states(result)["nexus.results"]
    assert (state, partitions) == ("there", 4)
    assert problems[0] == "it has 4 partitions, 8 are configured: configure 4, for this cannot be changed"
    for said in (
        "unclean.leader.election.enable is true, and is to be false",
        "set it with kafka-configs.sh",
    ):
        assert any(said in problem for problem in problems)
    [problem] = states(run("--development", "--json", kafka={"retention": "24h"}))["nexus.runs"][2]
    assert problem.startswith("retention.ms is 7776000000, and is to be 86400000")


async def _create(settings: Kafka, topic: Topic) -> None:
    async with Admin(connection(settings)) as admin:
        await admin.create([topic])


def test_one_broker_is_for_development_only(run):
    result = run("--json")
    assert result.exit_code == 2
    assert "Unable to replicate the partition 3 time(s)" in result.stderr
    result = run(kafka={"replicas": 1})
    assert result.exit_code == 2
    assert "kafka.replicas is 1" in result.stderr
    result = run(kafka={"min_insync_replicas": 1})
    assert result.exit_code == 2
    assert "kafka.min_insync_replicas is 1" in result.stderr


def test_more_replicas_in_sync_than_there_are():
    with pytest.raises(ConfigError, match="nothing could ever be appended"):
        wanted(Config(kafka=Kafka(replicas=3, min_insync_replicas=4)), ["a"])


def test_each_cluster_has_requests_of_its_own():
    names = [each.topic.name for each in wanted(Config(), ["a", "b"])]
    assert names == ["nexus.requests.a", "nexus.requests.b", *NAMES[1:]]


def test_a_prefix_stands_before_every_name():
    names = [each.topic.name for each in wanted(Config(kafka=Kafka(prefix="ours")), ["a"])]
    assert names == [name.replace("nexus", "ours", 1) for name in NAMES]


@pytest.mark.parametrize("prefix", ["", "a.b", "a b", "x" * 61])
def test_a_prefix_that_could_be_taken_for_another_name_is_refused(tmp_path, prefix):
    file = tmp_path / "nexus.yaml"
    file.write_text(yaml.safe_dump({"kafka": {"prefix": prefix}}))
    with pytest.raises(ConfigError, match=r"kafka\.prefix"):
        load(file, {})


def test_the_embedded_log_has_no_need_of_it():
    result = CliRunner().invoke(app, ["topics"])
    assert result.exit_code == 2
    assert "kafka.servers" in result.stderr


def test_the_topic_of_a_cluster_that_comes_later_has_as_many_replicas_as_the_others(run, settings):
    """Two ledgers may make it at the same time."""
    assert run("--development", "--json").exit_code == 0
    config = load(None, {"NEXUS__KAFKA__SERVERS": settings.servers})

    async def add() -> Topic:
        await asyncio.gather(*(add_cluster(config, "later") for _ in range(2)))
        async with Admin(connection(settings)) as admin:
            return (await admin.topics([LATER]))[LATER]

    made = asyncio.run(add())
    assert (made.partitions, made.replicas) == (config.log.request_partitions, 1)
    assert made.settings["min.insync.replicas"] == "1"
    assert made.settings["cleanup.policy"] == "delete"
