"""Who may do what: subjects, rules, and the decision that names its rule."""

from __future__ import annotations

from nexus.domain.access.allowance import Allowance
from nexus.domain.access.capability import Capabilities, derived
from nexus.domain.access.overrides import Override, asked, fixed
from nexus.domain.access.policy import Policy, read_policy
from nexus.domain.access.rules import EVERYTHING, NOTHING, Decision, Rule, Rules, Verb, read_rule
from nexus.domain.access.subject import (
    ALGORITHMS,
    ANYBODY,
    Proof,
    Subject,
    algorithm_of,
    group,
    service_account,
    token_holder,
    user,
)
from nexus.domain.access.tenants import NO_TENANTS, REST, Tenant, Tenants

__all__ = [
    "ALGORITHMS",
    "ANYBODY",
    "EVERYTHING",
    "NOTHING",
    "NO_TENANTS",
    "REST",
    "Allowance",
    "Capabilities",
    "Decision",
    "Override",
    "Policy",
    "Proof",
    "Rule",
    "Rules",
    "Subject",
    "Tenant",
    "Tenants",
    "Verb",
    "algorithm_of",
    "asked",
    "derived",
    "fixed",
    "group",
    "read_policy",
    "read_rule",
    "service_account",
    "token_holder",
    "user",
]
