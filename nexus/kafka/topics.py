"""The topics that an installation needs, by `infra/kafka/topics.yaml`, and how those that are there differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, Literal

import msgspec
import yaml

from nexus.config import Config, Span
from nexus.domain.duration import parse_duration
from nexus.domain.errors import ConfigError
from nexus.domain.topics import RUNS, requests_of
from nexus.kafka.admin import Admin, Topic
from nexus.kafka.client import connection
from nexus.kafka.names import Names

__all__ = ["Finding", "Wanted", "add_cluster", "apply", "wanted"]

_FEWEST_REPLICAS = 3
_FEWEST_IN_SYNC = 2


class Wanted(msgspec.Struct, frozen=True):
    topic: Topic
    may_grow: bool = False


class Finding(msgspec.Struct, frozen=True):
    """`problems` say what differs and what to do; nothing was done about them."""

    topic: str
    state: Literal["made", "grown", "there", "missing"]
    partitions: int
    problems: tuple[str, ...] = ()


class _Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    partitions: int | str
    retention: str
    may_grow: bool = False
    settings: dict[str, str] = {}


class _Definitions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    settings: dict[str, str]
    topics: dict[str, _Definition]


def wanted(config: Config, clusters: Sequence[str], *, brokers: int | None = None) -> list[Wanted]:
    """In development `brokers` is their number, and there are no more replicas than that.

    Raises ConfigError where, outside development, what was acknowledged could be lost with one broker.
    """
    kafka = config.kafka
    if brokers is None:
        _must_be(kafka.replicas, _FEWEST_REPLICAS, "kafka.replicas")
        _must_be(kafka.min_insync_replicas, _FEWEST_IN_SYNC, "kafka.min_insync_replicas")
    replicas = min(kafka.replicas, brokers or kafka.replicas)
    in_sync = min(kafka.min_insync_replicas, brokers or kafka.min_insync_replicas)
    if in_sync > replicas:
        raise ConfigError(
            f"kafka.min_insync_replicas is {in_sync}, and there are to be {replicas} replicas (kafka.replicas): "
            "nothing could ever be appended"
        )
    content = yaml.safe_load((files("infra") / "kafka" / "topics.yaml").read_text())
    definitions = msgspec.convert(content, _Definitions)
    settings = definitions.settings | {"min.insync.replicas": str(in_sync)}
    return [
        Wanted(
            Topic(
                Names(kafka.prefix).there(name.format(cluster=cluster)),
                int(_value(definition.partitions, config)),
                replicas,
                settings | {"retention.ms": _milliseconds(definition, config)} | definition.settings,
            ),
            definition.may_grow,
        )
        for name, definition in definitions.topics.items()
        for cluster in (clusters if "{cluster}" in name else ("",))
    ]


def _must_be(value: int, least: int, key: str) -> None:
    if value < least:
        raise ConfigError(f"{key} is {value}: outside development (--development) it must be {least} or more")


def _milliseconds(definition: _Definition, config: Config) -> str:
    value = _value(definition.retention, config)
    span = value if isinstance(value, Span) else parse_duration("retention", value)
    return str(int(span.total_seconds() * 1000))


def _value(text: int | str, config: Config) -> Any:
    """What a key such as `log.run_partitions` is set to; anything else is its own value."""
    section, _, key = str(text).partition(".")
    return getattr(getattr(config, section), key) if key else text


async def apply(admin: Admin, wanted: Sequence[Wanted], *, only_check: bool = False) -> list[Finding]:
    """Make what is missing, grow what may grow, and say what else differs. Again does no harm."""
    there = await admin.topics([each.topic.name for each in wanted])
    missing = [each.topic for each in wanted if each.topic.name not in there]
    growing = [each.topic for each in wanted if _grows(each, there.get(each.topic.name))]
    if not only_check:
        if missing:
            await admin.create(missing)
        for topic in growing:
            await admin.grow(topic.name, topic.partitions)
    findings = []
    for topic in (each.topic for each in wanted):
        found = there.get(topic.name)
        if found is None:
            findings.append(_missing(topic) if only_check else Finding(topic.name, "made", topic.partitions))
        elif topic in growing and not only_check:
            findings.append(Finding(topic.name, "grown", topic.partitions, tuple(_unlike(topic, found))))
        else:
            problems = (*_uncounted(topic, found, grows=topic in growing), *_unlike(topic, found))
            findings.append(Finding(topic.name, "there", found.partitions, problems))
    return findings


async def add_cluster(config: Config, cluster: str) -> None:
    """Make the topic of a cluster that came later, with as many replicas as `nexus.runs` has.

    Raises Unavailable, and ConfigError for what the brokers cannot do.
    """
    names = Names(config.kafka.prefix)
    runs, requests = names.there(RUNS), names.there(requests_of(cluster))
    async with Admin(connection(config.kafka)) as admin:
        beside = (await admin.topics([runs])).get(runs)
        found = wanted(config, [cluster], brokers=beside.replicas if beside else None)
        await apply(admin, [each for each in found if each.topic.name == requests], only_check=False)


def _grows(each: Wanted, found: Topic | None) -> bool:
    return each.may_grow and found is not None and found.partitions < each.topic.partitions


def _missing(topic: Topic) -> Finding:
    return Finding(topic.name, "missing", 0, ("make it with `nexus topics`",))


def _uncounted(topic: Topic, found: Topic, *, grows: bool) -> Iterator[str]:
    differ = f"it has {found.partitions} partitions, {topic.partitions} are configured"
    if grows:
        yield f"{differ}: add them with `nexus topics`"
    elif found.partitions != topic.partitions:
        yield f"{differ}: configure {found.partitions}, for this cannot be changed"


def _unlike(topic: Topic, found: Topic) -> Iterator[str]:
    if found.replicas < topic.replicas:
        yield (
            f"it has {found.replicas} replicas, {topic.replicas} are configured: "
            "add them with kafka-reassign-partitions.sh"
        )
    for key, value in topic.settings.items():
        if (actual := found.settings.get(key)) != value:
            yield (
                f"{key} is {actual}, and is to be {value}: set it with kafka-configs.sh --alter --entity-type topics "
                f"--entity-name {topic.name} --add-config {key}={value}"
            )
