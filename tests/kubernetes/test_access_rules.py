"""Rules as custom resources of a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from nexus.access.rulebook import Rulebook
from nexus.domain.access import Rule, Verb, read_rule, token_holder
from nexus.domain.errors import InvalidInput
from nexus.kubernetes.access_rules import KubernetesRules
from tests.contract.test_templates import until
from tests.support.kube import RESOURCES, Namespace, install_kinds

CI = token_holder("ci")
AT = f"{RESOURCES}/nexusaccessrules"
FIRST = (Rule(name="of the file", subjects=("token:root",), verbs=("*",)),)


def rule(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "science.sneaksanddata.com/v1",
        "kind": "NexusAccessRule",
        "metadata": {"name": name},
        "spec": {"subjects": ["token:ci"], "verbs": ["submit"]} | spec,
    }


async def test_rules_come_change_and_go(there: Namespace) -> None:
    await install_kinds(there)
    await there.call("POST", AT, rule("b", algorithms=["vrp-*"]))
    found = KubernetesRules(there.connection, there.name)
    await found.start()
    book = Rulebook([lambda: FIRST, found.rules])
    following = asyncio.create_task(found.follow())
    assert book().decide(CI, Verb.SUBMIT, "vrp-1").rule == "b"
    assert book() is book()
    assert not book().decide(CI, Verb.SUBMIT, "tsp").allowed
    assert book().decide(token_holder("root"), Verb.OPERATE).rule == "of the file"

    await there.call("POST", AT, rule("a", overrides=["image"]))
    await until(lambda: book().decide(CI, Verb.SUBMIT, "tsp").rule == "a")
    await there.merge(f"{AT}/a", {"spec": {"subjects": ["token:other"]}})
    await until(lambda: not book().decide(CI, Verb.SUBMIT, "tsp").allowed)
    await there.call("DELETE", f"{AT}/b")
    await until(lambda: not book().decide(CI, Verb.SUBMIT, "vrp-1").allowed)
    assert not following.done()
    following.cancel()


async def test_the_api_server_refuses_what_nobody_could_read(there: Namespace) -> None:
    await install_kinds(there)
    for wrong in ({"verbs": ["fly"]}, {"subjects": ["ci"]}, {"overrides": ["args"]}, {"subjects": []}):
        answer = await there.connection.request(
            "POST", AT.format(there.name), msgspec.json.encode(rule("wrong", **wrong))
        )
        assert answer.status == 422, wrong


async def test_one_that_is_broken_allows_nothing_and_is_named(there: Namespace) -> None:
    """As one may be that was stored before its definition was this strict."""
    await install_kinds(there)
    await there.call("POST", AT, rule("good"))
    found = KubernetesRules(there.connection, there.name)
    await found.start()
    with pytest.raises(InvalidInput) as caught:
        read_rule("broken", {"subjects": ["ci"], "verbs": ["*"]})
    found._objects.found["broken"] = caught.value
    found._objects.changes += 1
    assert [each.name for each in found.rules()] == ["good"]
    [problem] = found.problems()
    assert problem.startswith("spec.subjects: ci")
