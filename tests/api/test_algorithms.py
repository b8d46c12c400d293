"""Algorithms that ask the API by their capability: for their own run, and to submit children of it."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from api.access.algorithms import Algorithms
from api.access.needs import NEEDS, OWN, Without
from api.access.reports import Reports
from nexus.domain.access import Capabilities, Verb, derived, read_policy
from nexus.domain.topics import DEAD_LETTERS, RUNS
from tests.api.test_access import ADMIN, MINE, OPERATIONS, OTHER, RULES, TEAM, Guarded
from tests.streams.conftest import run_id

HOUR = timedelta(hours=1)
KEY = derived(b"k" * 32)
CAPABILITIES = Capabilities([KEY], "tests", HOUR)
CHILDREN = {
    "name": "children",
    "subjects": [f"algorithm:{MINE}"],
    "algorithms": [OTHER],
    "verbs": ["*"],
    "overrides": ["resources"],
}
TENANT = {"name": "routing", "subjects": ["group:routing"], "weight": 3}


class Asking(Guarded):
    """`asks` sends what an algorithm would whose Job was given the capability."""

    def __init__(self, installation, folder, rules):
        read = read_policy(rules, "rules")
        reports = Reports("capability", CAPABILITIES)
        algorithms = Algorithms(
            CAPABILITIES,
            reports.first,
            installation.store.get,
            installation.journal,
            installation.clock,
            lambda: read.rules,
        )
        super().__init__(installation, folder, rules, algorithms, reports=reports)

    async def capability(self, run, capabilities=CAPABILITIES):
        return capabilities.of((await self.row(run)).request, self.installation.clock())

    async def asks(self, capability, operation, **rest):
        method, _, path = operation.partition(" ")
        return await self.http.request(method, f"/as/{capability}{path}", **rest)

    async def reads(self, capability, run, algorithm=MINE):
        answer = await self.asks(capability, f"GET /algorithm/v1/results/{algorithm}/requests/{run}")
        return answer.status_code

    async def submits_child(self, capability, parent, algorithm=MINE, named=MINE, **members):
        body = {"algorithmParameters": {}} | members
        if parent:
            body["parentRequest"] = {"requestId": parent, "algorithmName": named}
        return await self.asks(capability, f"POST /algorithm/v1/run/{algorithm}", json=body)

    async def letters(self):
        return [(each.request_id, each.reason) for each in await self.installation.said(DEAD_LETTERS)]


@pytest.fixture
async def asking(installation, tmp_path):
    api = Asking(installation, tmp_path, {"rules": [*RULES["rules"], CHILDREN], "tenants": [TENANT]})
    yield api
    await api.close()


async def test_it_reads_its_own_run_and_payload_and_nothing_else(asking):
    run, sibling = await asking.submits(TEAM, MINE), await asking.submits(TEAM, MINE)
    mine = await asking.capability(run)
    let_in = set()
    for operation, key in itertools.product(OPERATIONS, (run, sibling)):
        if isinstance(NEEDS[operation], Without) and NEEDS[operation] is not Without.KNOWN:
            continue
        if NEEDS[operation] is Verb.SUBMIT:
            continue
        filled = operation.format(algorithm=MINE, request_id=key, tag="a", name="x", cluster="elsewhere")
        answer = await asking.asks(mine, filled, json={})
        if answer.status_code not in {401, 403}:
            let_in.add((operation, key))
    assert let_in == {(operation, run) for operation in OWN}
    assert not (await asking.row(run)).ended
    assert await asking.installation.said(RUNS) == []
    payload = await asking.asks(mine, f"GET /algorithm/v1/payload/{MINE}/requests/{run}")
    assert payload.status_code == 302
    assert "/as/" not in payload.headers["location"]


async def test_a_child_is_submitted_in_the_name_of_who_submitted_its_parent(asking):
    run = await asking.submits(TEAM, MINE)
    answer = await asking.submits_child(await asking.capability(run), run)
    assert answer.status_code == 202, answer.text
    child = answer.json()["requestId"]
    await asking.installation.reaches(child, lambda row: True)
    request = (await asking.row(child)).request
    assert (request.subject, request.parent.request_id) == ("token:team", run)
    assert (request.tenant, request.weight) == ("routing", 3)


async def test_rules_decide_about_children_of_other_algorithms_and_about_overrides(asking):
    run, other = await asking.submits(TEAM, MINE), await asking.submits(ADMIN, OTHER)
    mine, others = await asking.capability(run), await asking.capability(other)
    bigger = {"customConfiguration": {"computeResources": {"cpuLimit": "1"}}}
    image = {"customConfiguration": {"container": {"image": "evil"}}}
    for child, status in (
        (asking.submits_child(mine, run, OTHER), 202),  # a rule for algorithm:quick
        (asking.submits_child(mine, run, OTHER, **bigger), 202),
        (asking.submits_child(mine, run, OTHER, **image), 403),
        (asking.submits_child(mine, run, **image), 403),
        (asking.submits_child(mine, run, **bigger), 403),  # the submitter's group is in no event
        (asking.submits_child(others, other, MINE, OTHER, **image), 202),  # token:admin submitted the parent
    ):
        answer = await child
        assert answer.status_code == status, answer.text


async def test_a_child_of_another_or_of_no_run_is_refused(asking):
    run, other = await asking.submits(TEAM, MINE), await asking.submits(ADMIN, OTHER)
    mine = await asking.capability(run)
    assert (await asking.submits_child(mine, None)).status_code == 403
    assert (await asking.submits_child(mine, other, OTHER, OTHER)).status_code == 401
    assert (await asking.submits_child(mine, run, named=OTHER)).status_code == 401
    assert (await asking.submits_child(mine, run_id(99))).status_code == 401
    assert (await asking.submits_child(mine, "none")).status_code == 401
    assert {key for key, _ in await asking.letters()} == {run, other}


async def test_what_is_not_its_own_proves_nothing_and_is_kept_once(asking):
    run, other = await asking.submits(TEAM, MINE), await asking.submits(TEAM, MINE)
    mine, others = await asking.capability(run), await asking.capability(other)
    wrong = [
        "x.y",
        others,
        mine[:-1],
        mine + "A",
        mine.upper(),
        await asking.capability(run, Capabilities([KEY], "another", HOUR)),
        await asking.capability(run, Capabilities([derived(b"o" * 32)], "tests", HOUR)),
    ]
    for capability in wrong:
        assert await asking.reads(capability, run) == 401, capability
        assert (await asking.submits_child(capability, run)).status_code == 401, capability
    assert await asking.reads(mine, run, OTHER) == 401
    assert await asking.reads(mine, "none") == 401
    assert await asking.reads(mine, run) == 200
    [(key, reason)] = await asking.letters()
    assert (key, "its capability is not that of this run" in reason) == (run, True)


async def test_after_the_end_and_the_allowance_it_is_let_in_no_more(asking):
    run = await asking.submits(TEAM, MINE)
    mine = await asking.capability(run)
    report = f"POST /algorithm/v1/complete/{MINE}/requests/{run}"
    assert (await asking.asks(mine, report, json={"resultUri": "data:,done"})).status_code == 202
    await asking.installation.reaches(run, lambda row: row.ended)
    assert await asking.reads(mine, run) == 200
    assert (await asking.submits_child(mine, run)).status_code == 400  # a parent that has ended
    asking.installation.clock.advance(HOUR.total_seconds() + 1)
    assert await asking.reads(mine, run) == 401
    assert (await asking.submits_child(mine, run)).status_code == 401
    [(key, reason)] = await asking.letters()
    assert (key, reason) == (run, "its run ended too long ago")


async def test_it_expires(asking):
    run = await asking.submits(TEAM, MINE)
    mine = await asking.capability(run)
    asking.installation.clock.advance(2 * HOUR.total_seconds())
    assert await asking.reads(mine, run) == 401
    assert [reason for _, reason in await asking.letters()] == ["its capability has expired"]


async def test_who_has_a_token_too_is_judged_by_it(asking):
    run, other = await asking.submits(TEAM, MINE), await asking.submits(TEAM, MINE)
    path = f"GET /algorithm/v1/metadata/{MINE}/requests/{other}"
    mine = await asking.capability(run)
    assert (await asking.asks(mine, path, headers=asking.headers(TEAM))).status_code == 200
    assert (await asking.asks(mine, path, headers={"Authorization": "Bearer"})).status_code == 403
    assert (await asking.asks(mine, path, headers={"Authorization": "Bearer x"})).status_code == 401


async def test_it_is_in_no_line_of_the_log_and_no_metric(asking, capsys):
    run, other = await asking.submits(TEAM, MINE), await asking.submits(TEAM, MINE)
    mine = await asking.capability(run)
    await asking.reads(mine, other)
    answer = await asking.submits_child(mine, other)
    metrics = (await asking.http.get("/metrics")).text
    said = capsys.readouterr()
    assert "capability_refused" in said.out
    assert mine not in metrics + said.out + said.err + answer.text


async def test_without_capabilities_an_address_with_one_is_no_token(guarded_alone):
    run = await guarded_alone.submits(TEAM, MINE)
    path = f"/as/x.y/algorithm/v1/results/{MINE}/requests/{run}"
    assert (await guarded_alone.http.get(path)).status_code == 401


@pytest.fixture
async def guarded_alone(installation, tmp_path):
    api = Guarded(installation, tmp_path)
    yield api
    await api.close()
