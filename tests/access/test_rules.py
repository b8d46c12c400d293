"""Rules: what they allow, which of them decides, and what is wrong with those that cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.domain.access import (
    ANYBODY,
    EVERYTHING,
    Override,
    Rules,
    Verb,
    asked,
    fixed,
    read_policy,
    service_account,
    token_holder,
    user,
)
from nexus.domain.errors import InvalidInput
from nexus.domain.template import algorithm_spec

ALICE = user("alice@example.com", ["routing"])
WORKER = service_account("etl", "worker")


def rules(*given):
    return read_policy(
        {"rules": [{"name": f"rule {n}"} | rule for n, rule in enumerate(given)]}, "rules"
    ).rules


@pytest.mark.parametrize(
    ("pattern", "subject", "is_for"),
    [
        ("user:alice@example.com", ALICE, True),
        ("user:alice", ALICE, False),
        ("user:*@example.com", ALICE, True),
        ("group:routing", ALICE, True),
        ("group:Routing", ALICE, False),
        ("token:alice@example.com", ALICE, False),
        ("serviceaccount:etl/*", WORKER, True),
        ("serviceaccount:etl/worker", WORKER, True),
        ("serviceaccount:other/*", WORKER, False),
        ("*", ALICE, True),
        ("*", ANYBODY, True),
        ("token:*", token_holder("user:alice@example.com"), True),
        ("user:*", token_holder("user:alice@example.com"), False),
    ],
)
def test_a_subject_is_named_or_matched(pattern, subject, is_for):
    allowed = rules({"subjects": [pattern], "verbs": ["read"]}).decide(subject, Verb.READ, "tsp").allowed
    assert allowed is is_for


@pytest.mark.parametrize(
    ("pattern", "algorithm", "covered"),
    [
        ("tsp", "tsp", True),
        ("tsp", "tsp-2", False),
        ("vrp-*", "vrp-1", True),
        ("vrp-*", "vrp", False),
        ("*", "x", True),
    ],
)
def test_an_algorithm_is_named_or_matched(pattern, algorithm, covered):
    found = rules({"subjects": ["*"], "verbs": ["submit"], "algorithms": [pattern]})
    assert found.decide(ALICE, Verb.SUBMIT, algorithm).allowed is covered


def test_the_first_rule_that_allows_it_decides_and_is_named():
    found = rules(
        {"subjects": ["user:bob"], "verbs": ["*"]},
        {"subjects": ["group:routing"], "verbs": ["submit"]},
        {"subjects": ["*"], "verbs": ["submit"], "overrides": ["image"]},
    )
    assert found.decide(ALICE, Verb.SUBMIT, "tsp").rule == "rule 1"
    assert found.decide(ALICE, Verb.SUBMIT, "tsp", frozenset({Override.IMAGE})).rule == "rule 2"


def test_one_rule_has_to_allow_all_of_it():
    """Two that allow a half each would be no rule that can be named."""
    found = rules(
        {"subjects": ["*"], "verbs": ["submit"], "overrides": ["image"]},
        {"subjects": ["*"], "verbs": ["submit"], "overrides": ["deadline"]},
    )
    both = found.decide(ALICE, Verb.SUBMIT, "tsp", frozenset({Override.IMAGE, Override.DEADLINE}))
    assert (both.allowed, both.rule) == (False, "")
    assert "the rule 'rule 0' does not let the deadline be chosen" in both.reason


def test_what_no_rule_allows_is_refused_with_who_and_what():
    decision = Rules([]).decide(ALICE, Verb.CANCEL, "tsp")
    assert decision.reason == "user:alice@example.com may not cancel tsp: no rule allows it"
    assert Rules([]).decide(ANYBODY, Verb.LIST).reason == "anybody may not list: no rule allows it"


@given(st.sampled_from(Verb), st.text(max_size=20), st.frozensets(st.sampled_from(Override)))
def test_without_rules_everything_is_allowed(verb, algorithm, overrides):
    assert EVERYTHING.decide(ALICE, verb, algorithm, overrides).allowed


@pytest.mark.parametrize(
    ("document", "at", "problem"),
    [
        ([], "rules", "Expected `object`"),
        ({}, "rules", "missing required field `rules`"),
        ({"rules": [{"name": "a", "subjects": ["*"]}]}, "rules.rules[0]", "missing required field `verbs`"),
        ({"rules": [{"name": "a", "subjects": ["*"], "verbs": ["*"], "deny": 1}]}, "rules.rules[0]", "deny"),
        (
            {"rules": [{"name": "a", "subjects": ["*"], "verbs": ["delete"]}]},
            "rules.rules[0].verbs",
            "the verbs are",
        ),
        (
            {"rules": [{"name": "a", "subjects": ["alice"], "verbs": ["*"]}]},
            "rules.rules[0].subjects",
            "user:alice",
        ),
        (
            {"rules": [{"name": "", "subjects": ["*"], "verbs": ["*"]}]},
            "rules.rules[0].name",
            "no other rule",
        ),
        (
            {"rules": 2 * [{"name": "a", "subjects": ["*"], "verbs": ["*"]}]},
            "rules.rules[1].name",
            "no other rule",
        ),
        (
            {"rules": [{"name": "a", "subjects": ["*"], "verbs": ["*"], "overrides": ["args"]}]},
            "rules.rules[0].overrides[0]",
            "args",
        ),
        (
            {"rules": [], "tenants": 2 * [{"name": "a", "subjects": ["*"]}]},
            "rules.tenants[1].name",
            "no other tenant",
        ),
        (
            {"rules": [], "tenants": [{"name": "", "subjects": ["*"]}]},
            "rules.tenants[0].name",
            "no other tenant",
        ),
        (
            {"rules": [], "tenants": [{"name": "a", "subjects": ["alice"]}]},
            "rules.tenants[0].subjects",
            "user:alice",
        ),
        (
            {"rules": [], "tenants": [{"name": "a", "subjects": ["*"], "weight": 0}]},
            "rules.tenants[0].weight",
            ">= 1",
        ),
    ],
)
def test_what_cannot_be_read_is_named(document, at, problem):
    with pytest.raises(InvalidInput) as caught:
        read_policy(document, "rules")
    assert caught.value.field == at
    assert problem in caught.value.problem


# --- what a run chooses


def test_a_template_keeps_what_its_annotation_names():
    def annotated(text):
        return algorithm_spec(
            {"runtimeEnvironment": {"annotations": {"science.sneaksanddata.com/fixed": text}}}, "spec"
        )

    assert fixed(annotated("image, deadline")) == {Override.IMAGE, Override.DEADLINE}
    assert fixed(annotated("")) == fixed(algorithm_spec({}, "spec")) == frozenset()
    with pytest.raises(InvalidInput, match="write some of image, resources, deadline, workgroup"):
        fixed(annotated("images"))


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        (None, set()),
        ({}, set()),
        ({"container": {}, "computeResources": {"limits": {}}, "workgroupRef": {"name": ""}}, set()),
        ({"computeResources": {"requests": {"cpu": "1"}}}, {"resources"}),
        ({"runtimeEnvironment": {"maximumRetries": 0}}, {"deadline"}),
        ({"workgroupRef": {"group": "x"}}, {"workgroup"}),
        ({"container": {"serviceAccountName": "ignored"}}, set()),
        ({"container": {"image": "a"}, "workgroupRef": {"name": "b"}}, {"image", "workgroup"}),
    ],
)
def test_what_overrides_choose(choice, what):
    assert asked(None if choice is None else algorithm_spec(choice, "o")) == what


def test_the_first_tenant_that_has_a_subject_or_one_of_its_groups_is_its():
    tenants = read_policy(
        {
            "rules": [],
            "tenants": [
                {"name": "alice", "subjects": ["user:alice@*"], "weight": 2},
                {"name": "routing", "subjects": ["group:routing", "serviceaccount:etl/*"], "weight": 3},
            ],
        },
        "rules",
    ).tenants
    found = [
        tenants.of(subject) for subject in (ALICE, user("bob", ["routing"]), WORKER, ANYBODY, user("eve"))
    ]
    assert [(tenant.name, tenant.weight) for tenant in found] == [
        ("alice", 2),
        ("routing", 3),
        ("routing", 3),
        ("", 1),
        ("", 1),
    ]
