"""Who may do what, cell by cell over HTTP: subjects, operations of the OpenAPI document, algorithms."""

from __future__ import annotations

import shutil
from typing import Any

import httpx
import msgspec
import pytest

from api.access.algorithms import Algorithms
from api.access.entrance import Access
from api.access.needs import NEEDS, Without
from docs.pages.openapi import COMMITTED
from nexus.access.authenticator import Authenticator
from nexus.access.files import FollowedFile
from nexus.access.static import StaticTokens, add_token, new_token, read_tokens
from nexus.domain.access import Verb, read_policy
from nexus.domain.events import RunCancelled, RunRequested, RunTagged
from nexus.domain.topics import RUNS
from nexus.embedded.templates import FolderTemplates
from streams.audit import replay
from tests.api.conftest import Api
from tests.streams.conftest import REQUESTS, TEMPLATES, Installation

MINE, OTHER = "quick", "short"
"""Algorithms: `other` is one of which most subjects may do nothing."""
READER, SUBMITTER, TEAM, OPERATOR, ADMIN, KNOWN = "reader", "submitter", "team", "operator", "admin", "known"
GROUPS = {TEAM: ("routing",)}

RULES = {
    "rules": [
        {
            "name": "readers",
            "subjects": ["token:reader"],
            "algorithms": ["qui*"],
            "verbs": ["read", "list", "audit"],
        },
        {
            "name": "submitters",
            "subjects": ["token:submitter"],
            "algorithms": [MINE],
            "verbs": ["submit", "cancel"],
        },
        {
            "name": "the team",
            "subjects": ["group:routing"],
            "algorithms": [MINE],
            "verbs": ["submit", "read", "list", "cancel", "tag"],
            "overrides": ["resources"],
        },
        {"name": "operators", "subjects": ["token:operator"], "verbs": ["operate"]},
        {
            "name": "admins",
            "subjects": ["token:admin"],
            "verbs": ["*"],
            "overrides": ["image", "resources", "deadline", "workgroup"],
        },
    ],
    "tenants": [
        {"name": "routing", "subjects": ["group:routing"], "weight": 3},
        {"name": "others", "subjects": ["token:*"]},
    ],
}
MAY = {
    READER: {Verb.READ, Verb.LIST, Verb.AUDIT},
    SUBMITTER: {Verb.SUBMIT, Verb.CANCEL},
    TEAM: {Verb.SUBMIT, Verb.READ, Verb.LIST, Verb.CANCEL, Verb.TAG},
    OPERATOR: {Verb.OPERATE},
    ADMIN: set(Verb),
    KNOWN: set(),
}
"""With `MINE`; with `OTHER` only an admin may do anything."""
NOBODY, FORGED = "nobody", "forged"
SUBJECTS = [*MAY, NOBODY, FORGED]

DOCUMENT = msgspec.json.decode(COMMITTED.read_bytes())
OPERATIONS = sorted(
    f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods
)
BODIES = {
    Verb.SUBMIT: {"algorithmParameters": {}},
    Verb.CANCEL: {},
    Verb.TAG: {"newTag": "b"},
    Without.REPORT: {},
}


class Guarded(Api):
    """Its clients by the names of their tokens."""

    def __init__(
        self,
        installation: Installation,
        folder: Any,
        rules: Any = RULES,
        algorithms: Algorithms | None = None,
        **fields: Any,
    ) -> None:
        self.tokens = {NOBODY: "", FORGED: "nexus_made-up"}
        content = b""
        for name in MAY:
            self.tokens[name], entry = new_token(name, GROUPS.get(name, ()), None)
            content = add_token(content, entry, "tokens")
        (folder / "tokens.yaml").write_bytes(content)
        source = StaticTokens(FollowedFile(folder / "tokens.yaml", read_tokens))
        read = read_policy(rules, "rules")
        access = Access(Authenticator([source]).subject, lambda: read.rules, lambda: read.tenants, algorithms)
        super().__init__(installation, folder, access=access, **fields)

    def headers(self, subject: str) -> dict[str, str]:
        token = self.tokens[subject]
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(self, subject: str, operation: str, **rest: Any) -> httpx.Response:
        method, _, path = operation.partition(" ")
        return await self.http.request(method, path, headers=self.headers(subject), **rest)

    async def submits(self, subject: str, algorithm: str, **members: Any) -> str:
        body = {"algorithmParameters": {}} | members
        answer = await self.ask(subject, f"POST /algorithm/v1/run/{algorithm}", json=body)
        assert answer.status_code == 202, answer.text
        run: str = answer.json()["requestId"]
        await self.installation.reaches(run, lambda row: True)
        return run


@pytest.fixture
async def guarded(installation, tmp_path):
    api = Guarded(installation, tmp_path)
    yield api
    await api.close()


async def test_every_cell(guarded):
    runs = {algorithm: await guarded.submits(ADMIN, algorithm, tag="a") for algorithm in (MINE, OTHER)}
    found, expected = {}, {}
    for operation in OPERATIONS:
        need = NEEDS[operation]
        body = {"json": BODIES[need]} if need in BODIES else {}
        query = {"params": {"verb": "read"}} if need is Without.KNOWN else {}
        for algorithm in (MINE, OTHER):
            filled = operation.format(
                algorithm=algorithm, request_id=runs[algorithm], tag="a", name="x", cluster="elsewhere"
            )
            for subject in SUBJECTS:
                cell = (operation, algorithm, subject)
                answer = await guarded.ask(subject, filled, **body, **query)
                found[cell] = answer.status_code if answer.status_code in {401, 403} else "let in"
                expected[cell] = _expected(operation, algorithm, subject)
                if found[cell] != "let in" and need is not Without.SIGNED:
                    _is_in_shape(answer, operation)
    assert found == expected
    assert {cell[0] for cell in found} == set(OPERATIONS)


def _expected(operation, algorithm, subject):
    need = NEEDS[operation]
    if need is Without.SIGNED:
        return 403  # without a signature, whoever asks
    if isinstance(need, Without) and need is not Without.KNOWN:
        return "let in"
    if subject in {NOBODY, FORGED}:
        return 401
    if need is Without.KNOWN:
        return "let in"
    of_no_algorithm = need is Verb.OPERATE or (
        need is Verb.LIST and "{" not in operation.replace("{tag}", "")
    )
    mine = subject == ADMIN or algorithm == MINE or of_no_algorithm
    return "let in" if need in MAY[subject] and mine else 403


def _is_in_shape(answer, operation):
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="nexus"')
    if operation.split()[1].startswith("/algorithm"):
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


# --- who asks


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, 'Bearer realm="nexus"'),
        ("Bearer", 'Bearer realm="nexus"'),
        ("Bearer ", 'Bearer realm="nexus"'),
        ("bearer made-up", 'Bearer realm="nexus", error="invalid_token"'),
        ("Basic dTpw", 'Bearer realm="nexus", error="invalid_token"'),
        ("Bearer " + "x" * 20_000, 'Bearer realm="nexus", error="invalid_token"'),
        ("Bearer a.b.c", 'Bearer realm="nexus", error="invalid_token"'),
    ],
)
async def test_what_proves_nothing_is_401(guarded, header, challenge):
    headers = {} if header is None else {"Authorization": header}
    answer = await guarded.http.get("/api/v1/runs", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, challenge)


async def test_two_headers_are_not_chosen_from(guarded):
    good = guarded.headers(ADMIN)["Authorization"]
    answer = await guarded.http.get(
        "/api/v1/runs", headers=[("Authorization", good), ("Authorization", "Bearer other")]
    )
    assert answer.status_code == 401


async def test_a_body_is_not_read_of_who_is_not_let_in(guarded):
    async def body():
        raise AssertionError("read")
        yield b""

    answer = await guarded.http.post("/algorithm/v1/run/quick", content=body())
    assert answer.status_code == 401


# --- what one may choose


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"container": {"versionTag": "v9"}}, "image"),
        ({"container": {"image": "evil"}}, "image"),
        ({"container": {"registry": "evil.example"}}, "image"),
        ({"runtimeEnvironment": {"deadlineSeconds": 5}}, "deadline"),
        ({"runtimeEnvironment": {"maximumRetries": 5}}, "deadline"),
        ({"workgroupRef": {"name": "local"}}, "workgroup"),
        ({"computeResources": {"cpuLimit": "1"}, "container": {"image": "evil"}}, "image"),
    ],
)
async def test_each_override_is_a_permission_of_its_own(guarded, choice, named):
    body = {"algorithmParameters": {}, "customConfiguration": choice}
    refused = await guarded.ask(TEAM, "POST /algorithm/v1/run/quick", json=body)
    assert refused.status_code == 403
    assert f"the rule 'the team' does not let the {named} be chosen" in refused.text
    assert (await guarded.ask(ADMIN, "POST /algorithm/v1/run/quick", json=body)).status_code == 202


async def test_what_a_rule_lets_be_chosen_and_empty_sections_are_no_matter(guarded):
    """Upstream's client always writes an empty `container`."""
    for choice in ({"computeResources": {"cpuLimit": "1", "memoryLimit": "1Gi"}}, {"container": {}}, {}):
        await guarded.submits(TEAM, MINE, customConfiguration=choice)


async def test_what_a_template_keeps_to_itself_nobody_may_choose(installation, tmp_path):
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder)
    manifest = folder / "algorithms.yaml"
    plain = "runtimeEnvironment: {deadlineSeconds: 60, maximumRetries: 1}"
    kept = plain[:-1] + ', annotations: {science.sneaksanddata.com/fixed: "image, deadline"}}'
    manifest.write_text(manifest.read_text().replace(plain, kept))
    api = Guarded(installation, tmp_path, templates=FolderTemplates(folder))
    for choice, status in (
        ({"container": {"versionTag": "v9"}}, 400),
        ({"runtimeEnvironment": {"deadlineSeconds": 9}}, 400),
        ({"computeResources": {"cpuLimit": "1"}}, 202),
    ):
        body = {"algorithmParameters": {}, "customConfiguration": choice}
        answer = await api.ask(ADMIN, "POST /algorithm/v1/run/quick", json=body)
        assert answer.status_code == status, answer.text
        assert ("the template quick lets nobody choose" in answer.text) is (status == 400)
    await api.close()


# --- lists


async def test_lists_show_what_one_may_read(guarded):
    mine = await guarded.submits(ADMIN, MINE, tag="a")
    other = await guarded.submits(ADMIN, OTHER, tag="a")
    for subject, seen in ((ADMIN, {mine, other}), (READER, {mine}), (TEAM, {mine})):
        runs = (await guarded.ask(subject, "GET /api/v1/runs")).json()["runs"]
        assert {run["requestId"] for run in runs} == seen
        tagged = (await guarded.ask(subject, "GET /algorithm/v1/results/tags/a")).json()
        assert {run["requestId"] for run in tagged} == seen
    assert (await guarded.ask(TEAM, f"GET /api/v1/runs?algorithm={OTHER}")).status_code == 403


async def test_pages_go_on_past_what_one_may_not_read(guarded, monkeypatch):
    monkeypatch.setattr("api.own.runs._LOOKED_AT", 3)
    mine = [await guarded.submits(ADMIN, MINE) for _ in range(2)]
    for _ in range(7):
        await guarded.submits(ADMIN, OTHER)
    mine.append(await guarded.submits(ADMIN, MINE))
    found, cursor, pages = [], "", 0
    while cursor is not None:
        page = (await guarded.ask(READER, f"GET /api/v1/runs?limit=2{cursor and f'&cursor={cursor}'}")).json()
        assert len(page["runs"]) <= 2
        found += [run["requestId"] for run in page["runs"]]
        cursor, pages = page["cursor"], pages + 1
    assert found == mine[::-1]
    assert pages > 2


async def test_a_run_of_another_is_not_told_by_its_id_under_a_name_of_ones_own(guarded):
    other = await guarded.submits(ADMIN, OTHER)
    for path in ("results", "metadata", "buffer", "payload"):
        answer = await guarded.ask(READER, f"GET /algorithm/v1/{path}/{MINE}/requests/{other}")
        assert answer.status_code == 404, path
    for tail in ("", "/events"):
        assert (await guarded.ask(READER, f"GET /api/v1/runs/{other}{tail}")).status_code == 403
    cancel = await guarded.ask(TEAM, f"POST /algorithm/v1/cancel/{MINE}/requests/{other}", json={})
    assert cancel.status_code == 404
    assert not (await guarded.row(other)).ended


async def test_a_parent_that_one_may_not_read_is_as_if_it_were_not_there(guarded):
    other = await guarded.submits(ADMIN, OTHER)
    body = {"algorithmParameters": {}, "parentRequest": {"requestId": other, "algorithmName": OTHER}}
    answer = await guarded.ask(TEAM, f"POST /algorithm/v1/run/{MINE}", json=body)
    assert (answer.status_code, f"there is no run {other}" in answer.text) == (400, True)
    assert (await guarded.ask(ADMIN, f"POST /algorithm/v1/run/{MINE}", json=body)).status_code == 202


# --- who did it


async def test_who_did_it_is_in_the_log_and_shown(guarded):
    run = await guarded.submits(TEAM, MINE)
    tag = f"POST /algorithm/v1/metadata/tags/{MINE}/requests/{run}"
    assert (await guarded.ask(ADMIN, tag, json={"newTag": "b"})).status_code == 200
    cancel = f"POST /algorithm/v1/cancel/{MINE}/requests/{run}"
    said = {"initiator": "somebody else", "reason": "why not"}
    assert (await guarded.ask(SUBMITTER, cancel, json=said)).status_code == 200
    await guarded.installation.reaches(run, lambda row: row.ended)

    events = [*await guarded.installation.said(REQUESTS, run), *await guarded.installation.said(RUNS, run)]
    by = {type(event): event.subject for event in events if hasattr(event, "subject")}
    assert by == {RunRequested: "token:team", RunTagged: "token:admin", RunCancelled: "token:submitter"}
    shown = (await guarded.ask(ADMIN, f"GET /api/v1/runs/{run}")).json()
    assert (shown["submittedBy"], shown["cancelledBy"]) == ("token:team", "token:submitter")
    history = (await guarded.ask(ADMIN, f"GET /api/v1/runs/{run}/events")).json()["events"]
    assert [event["data"].get("subject") for event in history] == [
        "token:team",
        "token:admin",
        "token:submitter",
    ]

    log, topics = guarded.installation.log, [REQUESTS, RUNS]
    found = [type(event).__name__ async for _, event in replay(log, topics, by="token:team")]
    assert found == ["RunRequested"]
    assert len([1 async for _ in replay(log, topics, by="token:*")]) == 3


async def test_where_nobody_has_to_say_who_it_is_no_subject_is_said(api):
    run = await api.submit()
    [request] = await api.installation.said(REQUESTS, run)
    assert request.subject == ""
    assert (request.tenant, request.weight) == ("", 1)


async def test_whose_a_run_is_is_in_the_log_and_in_its_row(guarded):
    for subject, tenant in ((TEAM, ("routing", 3)), (SUBMITTER, ("others", 1))):
        run = await guarded.submits(subject, MINE)
        [request] = await guarded.installation.said(REQUESTS, run)
        assert (request.tenant, request.weight) == tenant
        row = await guarded.row(run)
        assert (row.request.tenant, row.request.weight) == tenant
        assert (await guarded.ask(ADMIN, f"GET /api/v1/runs/{run}")).json()["tenant"] == tenant[0]


# --- how much


async def test_a_tenant_over_its_limit_is_told_when_to_come_again(installation, tmp_path):
    tenants = [
        {"name": "limited", "subjects": ["token:admin"], "bytesPerSecond": 1},
        {"name": "others", "subjects": ["token:*"]},
    ]
    guarded = Guarded(installation, tmp_path, RULES | {"tenants": tenants})
    run = await guarded.submits(ADMIN, MINE, algorithmParameters={"pad": "x" * 900})
    for operation in (f"POST /algorithm/v1/run/{MINE}", f"GET /algorithm/v1/results/{MINE}/requests/{run}"):
        answer = await guarded.ask(ADMIN, operation)
        assert (answer.status_code, answer.headers["Content-Type"]) == (429, "text/plain; charset=utf-8")
        assert "'limited'" in answer.text
        assert "bytesPerSecond: 1 " in answer.text
        assert 100 < int(answer.headers["Retry-After"]) < 1000
    answer = await guarded.ask(ADMIN, f"GET /api/v1/runs/{run}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, "application/problem+json")
    assert (answer.json()["title"], "Retry-After" in answer.headers) == ("Too many requests", True)
    assert (await guarded.ask(NOBODY, "GET /livez")).status_code == 200
    assert (await guarded.ask(READER, f"GET /api/v1/runs/{run}")).status_code == 200
    await guarded.close()


# --- what may I


@pytest.mark.parametrize(
    ("subject", "query", "allowed", "rule"),
    [
        (TEAM, "verb=submit&algorithm=quick", True, "the team"),
        (TEAM, "verb=submit&algorithm=quick&override=resources", True, "the team"),
        (TEAM, "verb=submit&algorithm=quick&override=resources&override=image", False, ""),
        (TEAM, "verb=submit&algorithm=short", False, ""),
        (TEAM, "verb=submit", True, "the team"),
        (KNOWN, "verb=read", False, ""),
        (ADMIN, "verb=operate", True, "admins"),
    ],
)
async def test_one_may_ask_what_one_may(guarded, subject, query, allowed, rule):
    found = (await guarded.ask(subject, f"GET /api/v1/access?{query}")).json()
    assert (found["allowed"], found["rule"], found["subject"]) == (allowed, rule, f"token:{subject}")
    assert found["reason"]
    tenant = "routing" if subject == TEAM else "others"
    assert (found["tenant"], found["limits"]) == (tenant, {"weight": 3 if subject == TEAM else 1})


async def test_without_authentication_everything_is_allowed(api):
    found = (await api.http.get("/api/v1/access?verb=operate")).json()
    assert (found["allowed"], found["subject"]) == (True, "")
    assert (await api.http.get("/api/v1/access?verb=fly")).status_code == 400
