"""The status of a source: `Ready` for all shards, a condition for each, and what is said of it as Events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec.structs import replace

from nexus.domain.manifest import TEMPLATE
from nexus.domain.sync.copies import chosen, is_meant_for
from nexus.domain.sync.objects import CONFIG_MAP, SECRET, Condition, Key, Object, Status
from nexus.domain.sync.source import Source
from nexus.domain.sync.standing import LACKS_KINDS, MISSING, REMOVED, SEEN_TWICE, SYNCED, Standing

__all__ = ["GIVEN_UP_AFTER", "Notice", "initial", "is_done_with", "notices", "status"]

GIVEN_UP_AFTER = timedelta(hours=1)
"""How long a deletion waits for a shard that is not heard: its copy goes when it is back."""

_READY = "Ready"
_SYNCED_TO = "SyncedTo-"
_REASON = "AlgorithmReady"
_SYNCING = Standing("False", "Syncing", "its copy is being written")

Standings = Mapping[str, Standing | None]
"""By shard; None while the next step is under way."""


class Notice(msgspec.Struct, frozen=True):
    """An Event about a source."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def initial(key: Key, source: Object, now: datetime) -> Status | None:
    """The status of a source that has none yet."""
    if source.status.conditions or source.deleting:
        return None
    return _with_names(key, (_ready(source, "False", _REASON, _says(key, "initializing"), now),), (), ())


def status(
    key: Key, here: Source, standings: Standings, removed: Collection[str], now: datetime
) -> Status | None:
    """The status that a source is to have; None where it has it, or where there is nothing to say yet."""
    source = here.objects[key]
    found = {shard: each for shard, each in _relevant(source, standings, removed) if not _is_gone(each)}
    conditions = tuple(_of_shard(source, shard, each, now) for shard, each in sorted(found.items()))
    problems = [each for each in conditions if each.status != "True" and each.reason != _SYNCING.reason]
    if problems:
        ready = _ready(source, "False", problems[0].reason, _summary(conditions, problems), now)
    elif source.deleting or None in found.values():
        return None  # what was said of it last holds until there is an outcome
    else:
        ready = _ready(source, "True", _REASON, _says(key, "ready"), now)
    synced = tuple(each.type.removeprefix(_SYNCED_TO) for each in conditions if each.status == "True")
    named = tuple(sorted(name for name in here.references(key) if name in here.objects))
    after = _with_names(key, (ready, *conditions), named, synced)
    return None if after == _ordered(source.status) else after


def notices(key: Key, before: Status, after: Status) -> Iterator[Notice]:
    """What is worth an Event when the one status follows the other."""
    if any((each.type, each.status) == (_READY, "True") for each in after.conditions or ()):
        yield Notice("Normal", SYNCED, f"Resource of type {key.kind} synced successfully")
    known = {(each.type, each.reason, each.message) for each in before.conditions or ()}
    said = set()
    for condition in after.conditions or ():
        if condition.type == _READY:
            continue
        new = (condition.type, condition.reason, condition.message) not in known
        if condition.status != "True" and condition.reason != _SYNCING.reason and new:
            said.add((condition.reason, condition.message))
    for reason, message in sorted(said):
        yield Notice("Warning", reason, message)


def is_done_with(
    source: Object, standings: Standings, removed: Collection[str], now: datetime
) -> list[str] | None:
    """Of a source that is being deleted: the shards that are given up; None while its copies must still be waited for."""
    given_up = []
    for shard, each in _relevant(source, standings, removed):
        if _is_gone(each) or (each and each.reason in {LACKS_KINDS, SEEN_TWICE}):
            continue
        before = _find(source, f"{_SYNCED_TO}{shard}")
        if each is None or each.status != "Unknown" or before is None or before.status != "Unknown":
            return None
        if datetime.fromisoformat(before.last_transition_time) + GIVEN_UP_AFTER > now:
            return None
        given_up.append(shard)
    return given_up


def _relevant(
    source: Object, standings: Standings, removed: Collection[str]
) -> Iterator[tuple[str, Standing | None]]:
    """The shards that it goes to, or went to; also those that there is no way to reach any more."""
    conditions = source.status.conditions or ()
    told = {each.type.removeprefix(_SYNCED_TO) for each in conditions if each.type.startswith(_SYNCED_TO)}
    for shard, each in standings.items():
        if shard in told or is_meant_for(source, shard):
            yield shard, each
    for shard in sorted((told | chosen(source)) - standings.keys() - set(removed)):
        text = f'no cluster "{shard}" is configured: give its kubeconfig, or name it in kubernetes.removed'
        yield shard, Standing("Unknown", "ClusterUnknown", text)


def _is_gone(each: Standing | None) -> bool:
    return each is not None and each.reason == REMOVED


def _of_shard(source: Object, shard: str, each: Standing | None, now: datetime) -> Condition:
    kind = f"{_SYNCED_TO}{shard}"
    if each is None:
        return _find(source, kind) or _condition(source, kind, _SYNCING, now)
    return _condition(source, kind, each, now)


def _ready(
    source: Object, value: Literal["True", "False"], reason: str, message: str, now: datetime
) -> Condition:
    return _condition(source, _READY, Standing(value, reason, message), now)


def _condition(source: Object, kind: str, each: Standing, now: datetime) -> Condition:
    before = _find(source, kind)
    since = before.last_transition_time if before and before.status == each.status else ""
    return Condition(
        kind,
        each.status,
        each.reason,
        each.message,
        since or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        source.metadata.generation,
    )


def _find(source: Object, kind: str) -> Condition | None:
    return next((each for each in source.status.conditions or () if each.type == kind), None)


def _summary(conditions: Collection[Condition], problems: Collection[Condition]) -> str:
    """Each message with the shards that it is about, unless it is about all of them, or about none."""
    about: dict[tuple[str, str], list[str]] = {}
    for each in problems:
        about.setdefault((each.reason, each.message), []).append(each.type.removeprefix(_SYNCED_TO))
    everywhere = len(problems) == len(conditions) and len(about) == 1
    return "; ".join(
        message if everywhere or reason == MISSING else f"{', '.join(shards)}: {message}"
        for (reason, message), shards in about.items()
    )


def _says(key: Key, word: str) -> str:
    return f'{"Algorithm" if key.kind == TEMPLATE else "Workgroup"} "{key.name}" {word}'


def _with_names(
    key: Key, conditions: tuple[Condition, ...], named: tuple[Key, ...], synced: tuple[str, ...]
) -> Status:
    if key.kind != TEMPLATE:
        return Status(conditions)
    return Status(
        conditions,
        synced_secrets=tuple(each.name for each in named if each.kind == SECRET),
        synced_configurations=tuple(each.name for each in named if each.kind == CONFIG_MAP),
        synced_to_clusters=synced,
    )


def _ordered(found: Status) -> Status:
    """As it would be written: Ready first."""
    conditions = sorted(found.conditions or (), key=lambda each: (each.type != _READY, each.type))
    return replace(found, conditions=tuple(conditions))
