"""Rules: which subjects may do what with which algorithms. What no rule allows is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

import msgspec

from nexus.domain.access.overrides import Override
from nexus.domain.access.subject import Subject, matches
from nexus.domain.decoding import converted
from nexus.domain.errors import InvalidInput

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "Decision",
    "Rule",
    "Rules",
    "Verb",
    "check_rule",
    "check_subjects",
    "read_rule",
]

_ANY = "*"
_REMEMBERED = 10_000
"""Decisions that are kept: there are few subjects, verbs and algorithms, and many requests."""


class Verb(StrEnum):
    """`list` is to find runs, `read` to see one and its result, `audit` to see its history; `operate` is for operators."""

    SUBMIT = "submit"
    READ = "read"
    CANCEL = "cancel"
    TAG = "tag"
    LIST = "list"
    AUDIT = "audit"
    OPERATE = "operate"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Subjects and algorithms are names or globs, such as `group:routing`, `serviceaccount:etl/*` and `vrp-*`.

    `verbs` are those of `Verb`, or `*`. What a run may choose of its template has to be among `overrides`.
    """

    name: str
    subjects: tuple[str, ...]
    verbs: tuple[str, ...]
    algorithms: tuple[str, ...] = (_ANY,)
    overrides: tuple[Override, ...] = ()

    def is_for(self, subject: Subject) -> bool:
        return matches(self.subjects, subject)

    def covers(self, verb: Verb, algorithm: str | None) -> bool:
        """None stands for any algorithm: whether there is one at all with which this may be done."""
        if verb not in self.verbs and _ANY not in self.verbs:
            return False
        return algorithm is None or _matches(self.algorithms, algorithm)


class Decision(msgspec.Struct, frozen=True):
    """`rule` is the name of the one that decided, empty where none speaks of it; `reason` is a sentence."""

    allowed: bool
    rule: str
    reason: str


class Rules:
    """The first rule that allows something decides."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: Sequence[Rule] = tuple(rules)
        self.decide = lru_cache(_REMEMBERED)(self._decide)

    def _decide(
        self,
        subject: Subject,
        verb: Verb,
        algorithm: str | None = None,
        overrides: frozenset[Override] = frozenset(),
    ) -> Decision:
        """Decide whether the subject may do this. Without an algorithm: whether with any at all."""
        near = ""
        for rule in self.rules:
            if not rule.is_for(subject) or not rule.covers(verb, algorithm):
                continue
            missing = overrides.difference(rule.overrides)
            if not missing:
                return Decision(True, rule.name, f"the rule {rule.name!r} allows it")
            near = near or f"the rule {rule.name!r} does not let the {_listed(missing)} be chosen"
        who = subject.name or "anybody"
        what = f"{verb} {algorithm}" if algorithm is not None else verb
        return Decision(False, "", f"{who} may not {what}: {near or 'no rule allows it'}")


NOTHING = Rules([])
EVERYTHING = Rules(
    [Rule(name="no rules are configured", subjects=(_ANY,), verbs=(_ANY,), overrides=tuple(Override))]
)
"""Where there are no rules."""


def read_rule(name: str, spec: object) -> Rule:
    """Read the rule that a custom resource of that name describes. Raises InvalidInput that names the member."""
    if not isinstance(spec, dict):
        raise InvalidInput("spec", "is no object")
    rule = converted({**spec, "name": name}, Rule, "spec")
    check_rule(rule, "spec")
    return rule


def check_rule(rule: Rule, at: str) -> None:
    """Raises InvalidInput that names the member below `at`."""
    if unknown := set(rule.verbs).difference(Verb, {_ANY}):
        raise InvalidInput(f"{at}.verbs", f"{_listed(unknown)}: the verbs are {', '.join(Verb)}, and *")
    check_subjects(rule.subjects, f"{at}.subjects")


def check_subjects(subjects: Iterable[str], at: str) -> None:
    """Raises InvalidInput for `at` where one does not say of which kind it is."""
    if untyped := {each for each in subjects if ":" not in each and each != _ANY}:
        raise InvalidInput(
            at,
            f"{_listed(untyped)}: say of which kind, such as user:alice, serviceaccount:etl/worker, token:ci "
            "or group:routing",
        )


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
