"""Who may do what: subjects, rules, and the decision that names its rule."""

from __future__ import annotations

from nexus.domain.access.capability import Capabilities, derived
from nexus.domain.access.overrides import Override, asked, fixed
from nexus.domain.access.rules import EVERYTHING, Decision, Rule, Rules, Verb, read_rule, read_rules
from nexus.domain.access.subject import (
    ALGORITHMS,
    ANYBODY,
    Proof,
    Subject,
    group,
    service_account,
    token_holder,
    user,
)

__all__ = [
    "ALGORITHMS",
    "ANYBODY",
    "EVERYTHING",
    "Capabilities",
    "Decision",
    "Override",
    "Proof",
    "Rule",
    "Rules",
    "Subject",
    "Verb",
    "asked",
    "derived",
    "fixed",
    "group",
    "read_rule",
    "read_rules",
    "service_account",
    "token_holder",
    "user",
]
