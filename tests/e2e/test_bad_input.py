"""Bad input of every kind gets the contract's error, and leaves no event."""

from __future__ import annotations

import httpx
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNKNOWN = "01900000-0000-7000-8000-000000000000"


@pytest_asyncio.fixture(loop_scope="session")
async def records(nexus):
    """How many records the log holds: the audit of everything that was ever said."""

    def count() -> int:
        done = nexus.command("replay")
        assert done.returncode == 0, done.stderr
        return len(done.stdout.splitlines())

    async def quiet() -> bool:
        return not [
            run
            async for run in nexus.all_runs()
            if run["state"] != "ended" or (run["jobUid"] not in {"", "dry-run"} and not run["collectedAt"])
        ]

    await nexus.until(quiet)
    return count


def override(**sections: object) -> dict[str, object]:
    return {"algorithmParameters": {}, "customConfiguration": sections}


BODIES = {
    "empty": b"",
    "not json": b"{",
    "trailing bytes": b'{"algorithmParameters":{}} {}',
    "an array": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "no parameters": b"{}",
    "null parameters": b'{"algorithmParameters":null}',
    "parameters as a list": b'{"algorithmParameters":[]}',
    "parameters as a string": b'{"algorithmParameters":"{}"}',
    "other case": b'{"AlgorithmParameters":{}}',
    "broken utf-8": b'{"algorithmParameters":{"a":"\xff"}}',
    "a lone surrogate": b'{"algorithmParameters":{},"tag":"\\ud800"}',
    "deep": b'{"algorithmParameters":' + b'{"a":' * 100_000,
    "tag as a number": b'{"algorithmParameters":{},"tag":1}',
    "a long tag": b'{"algorithmParameters":{},"tag":"' + b"t" * 5000 + b'"}',
    "half a parent": b'{"algorithmParameters":{},"parentRequest":{"requestId":"x"}}',
    "an empty parent": b'{"algorithmParameters":{},"parentRequest":{"requestId":"","algorithmName":""}}',
    "a parent without a uuid": b'{"algorithmParameters":{},"parentRequest":{"requestId":"../x","algorithmName":"a"}}',
    "an unknown parent": b'{"algorithmParameters":{},"parentRequest":{"requestId":"%s","algorithmName":"a"}}'
    % UNKNOWN.encode(),
    "a bad duration": b'{"algorithmParameters":{},"payloadValidFor":"tomorrow"}',
    "an endless duration": b'{"algorithmParameters":{},"payloadValidFor":"99999999999h"}',
    "configuration as a list": b'{"algorithmParameters":{},"customConfiguration":[]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("prefix", ["/algorithm/v1", "/algorithm"])
async def test_malformed_bodies(nexus, prefix, body):
    answer = await nexus.http.post(f"{prefix}/run/quick", content=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("Algorithm payload is invalid: ")
    assert len(answer.text) < 1000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (override(computeResources={"cpuLimit": "lots"}), "customConfiguration.computeResources.cpuLimit"),
        (
            override(computeResources={"limits": {"cpu": "1", "memory": "-1Gi"}}),
            "customConfiguration.computeResources.limits.memory",
        ),
        (override(computeResources={"requests": {"cpu": "64"}}), "computeResources.requests.cpu"),
        (override(computeResources={"limits": {"cpu": 2}}), "customConfiguration.computeResources.limits"),
        (override(computeResources="all"), "customConfiguration.computeResources"),
        (override(container={"image": "Not An Image"}), "customConfiguration.container.image"),
        (override(container={"versionTag": "a:b"}), "customConfiguration.container.versionTag"),
        (
            override(runtimeEnvironment={"deadlineSeconds": 0}),
            "customConfiguration.runtimeEnvironment.deadlineSeconds",
        ),
        (
            override(runtimeEnvironment={"maximumRetries": -1}),
            "customConfiguration.runtimeEnvironment.maximumRetries",
        ),
        (
            override(runtimeEnvironment={"deadlineSeconds": 10**12}),
            "customConfiguration.runtimeEnvironment.deadlineSeconds",
        ),
        (
            override(runtimeEnvironment={"deadlineSeconds": "1"}),
            "customConfiguration.runtimeEnvironment.deadlineSeconds",
        ),
        (
            override(errorHandlingBehaviour={"fatalExitCodes": [0]}),
            "customConfiguration.errorHandlingBehaviour.fatalExitCodes",
        ),
        (override(workgroupRef={"name": "No Name"}), "customConfiguration.workgroupRef.name"),
    ],
)
async def test_an_override_that_makes_no_job_names_its_field(nexus, body, field):
    answer = await nexus.http.post("/algorithm/v1/run/quick", json=body)
    assert (answer.status_code, field in answer.text) == (400, True), answer.text


@pytest.mark.parametrize(
    ("algorithm", "members", "sentence"),
    [
        (
            "nobody",
            {},
            "No valid configuration found for: nobody. Please check that algorithm name is spelled correctly",
        ),
        ("broken", {}, "spec.computeResources.memoryLimit: 'lots' is not a Kubernetes quantity"),
        ("orphan", {}, "Cannot assign requested workgroup no-such-workgroup to the algorithm orphan."),
        ("stray", {}, "Its cluster 'nowhere' is not configured."),
        (
            "quick",
            {"customConfiguration": {"workgroupRef": {"name": "absent"}}},
            "Cannot assign requested workgroup absent",
        ),
    ],
)
async def test_what_is_not_deployed(nexus, algorithm, members, sentence):
    answer = await nexus.http.post(
        f"/algorithm/v1/run/{algorithm}", json={"algorithmParameters": {}, **members}
    )
    assert (answer.status_code, sentence in answer.text) == (400, True), answer.text


async def test_a_body_over_the_limit(nexus):
    answer = await nexus.http.post(
        f"/algorithm/v1/complete/quick/requests/{UNKNOWN}", content=b"x" * (2 * 1024 * 1024)
    )
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    "request_id",
    ["x", "0", "../../etc/passwd", "%00", UNKNOWN + "x", UNKNOWN.replace("-", ""), "é", "a" * 4000],
)
async def test_absurd_ids(nexus, request_id):
    for path in ("results", "metadata", "buffer", "payload", "check"):
        assert (await nexus.http.get(f"/algorithm/v1/{path}/quick/requests/{request_id}")).status_code == 404
    complete = await nexus.http.post(
        f"/algorithm/v1/complete/quick/requests/{request_id}", json={"resultUri": "x"}
    )
    assert complete.status_code in {400, 404}
    assert (await nexus.http.get(f"/api/v1/runs/{request_id}")).status_code in {400, 404}


@pytest.mark.parametrize(
    "path", ["/", "/v1/nope", "/v1/run", "/v1/run/a/b", "/v1/run/..%2f..%2fetc", "/v2/run/quick"]
)
async def test_unknown_paths(nexus, path):
    answer = await nexus.http.post(f"/algorithm{path}", content=b"{}")
    if path == "/v1/run/..%2f..%2fetc":
        assert answer.status_code in {400, 404}
    else:
        assert (answer.status_code, answer.text) == (404, "404 page not found")


async def test_wrong_methods(nexus):
    answer = await nexus.http.get("/algorithm/v1/run/quick")
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (
        404,
        "404 page not found",
        "text/plain; charset=utf-8",
    )
    answer = await nexus.http.post("/api/v1/runs")
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")


async def test_errors_of_reads_have_the_form_that_clients_know(nexus):
    metadata = await nexus.http.get(f"/algorithm/v1/metadata/quick/requests/{UNKNOWN}")
    assert (metadata.status_code, "content-type" in metadata.headers, metadata.content) == (404, False, b"")
    results = await nexus.http.get(f"/algorithm/v1/results/quick/requests/{UNKNOWN}")
    assert (results.status_code, results.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    problem = await nexus.http.get(f"/api/v1/runs/{UNKNOWN}")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json().keys() >= {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400),
        ("limit=x", 400),
        ("stage=DONE", 400),
        ("since=yesterday", 400),
        ("since=2026-01-01T00:00:00", 400),
        ("cursor=x", 400),
    ],
)
async def test_bad_filters(nexus, query, status):
    answer = await nexus.http.get(f"/api/v1/runs?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_payload_addresses_are_for_who_holds_one(nexus):
    run_id = await nexus.submit("quick", {"secret": 1}, dry_run=True)
    moved = await nexus.http.get(f"/algorithm/v1/payload/quick/requests/{run_id}")
    address = httpx.URL(moved.headers["location"])
    parameters = dict(address.params)
    assert (await nexus.http.get(address)).json() == {"secret": 1}
    for changed in (
        {},
        parameters | {"sig": ""},
        parameters | {"sig": ("B" if parameters["sig"][0] == "A" else "A") + parameters["sig"][1:]},
        parameters | {"to": str(int(parameters["to"]) + 1)},
        parameters | {"to": "1"},
        parameters | {"to": "9" * 400},
        parameters | {"from": "-1"},
        parameters | {"tid": "x"},
        parameters | {"chk": "é"},
    ):
        answer = await nexus.http.get(address.copy_with(params=changed))
        assert (answer.status_code, answer.text.startswith("Invalid payload address: ")) == (403, True), (
            changed
        )
    other = await nexus.submit("quick", {"secret": 2}, dry_run=True)
    assert (await nexus.http.get(str(address).replace(run_id, other))).status_code == 403


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "Cancellation payload is invalid: "),
        (b'{"reason":1}', "Cancellation payload is invalid: "),
        (
            b'{"cancellationPolicy":"Later"}',
            "Invalid cancellation request: invalid CancellationPolicy: 'Later', accepted values: Orphan, Foreground or Background",
        ),
    ],
)
async def test_bad_cancellations(nexus, body, sentence):
    answer = await nexus.http.post(f"/algorithm/v1/cancel/quick/requests/{UNKNOWN}", content=body)
    assert (answer.status_code, answer.text.startswith(sentence)) == (400, True)


async def test_cancel_of_an_unknown_run(nexus):
    answer = await nexus.cancel("quick", UNKNOWN)
    assert (answer.status_code, answer.text) == (
        404,
        f"Provided request with identifier '{UNKNOWN}' not found",
    )


async def test_a_bad_idempotency_key(nexus):
    answer = await nexus.http.post(
        "/algorithm/v1/run/quick", json={"algorithmParameters": {}}, headers={"Idempotency-Key": "k" * 300}
    )
    assert (answer.status_code, "Idempotency-Key" in answer.text) == (400, True)


async def test_nothing_of_this_left_an_event(nexus, records):
    before = records()
    for body in BODIES.values():
        await nexus.http.post("/algorithm/v1/run/quick", content=body)
    await nexus.http.post("/algorithm/v1/run/nobody", json={"algorithmParameters": {}})
    await nexus.http.post("/algorithm/v1/run/broken", json={"algorithmParameters": {}})
    await nexus.http.post("/algorithm/v1/complete/quick/requests/x", json={"resultUri": "x"})
    await nexus.http.post(f"/algorithm/v1/complete/quick/requests/{UNKNOWN}", content=b"{")
    await nexus.cancel("quick", UNKNOWN)
    assert records() == before
