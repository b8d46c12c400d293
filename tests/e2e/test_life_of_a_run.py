"""What can become of a run, over HTTP and real processes."""

from __future__ import annotations

import asyncio
import json

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAUNCH = "Algorithm submission was buffered, but failed to launch on the target cluster: "
FATAL = "Algorithm encountered a fatal error during execution: "


async def test_a_run_completes_and_its_history_says_how(nexus):
    run_id = await nexus.submit("scripted", {"mode": "success"}, tag="whole-life")
    run = await nexus.ended(run_id)
    assert (run["stage"], run["resultUri"]) == ("COMPLETED", "data:,ok")
    await nexus.collected(run_id)
    types = await nexus.event_types(run_id)
    assert types[:2] == ["RunRequested", "JobCreated"]
    assert sorted(types[2:]) == ["JobCollected", "RunCompleted", "RunStarted"]
    answer = (await nexus.http.get(f"/algorithm/v1/results/scripted/requests/{run_id}")).json()
    assert answer == {
        "requestId": run_id,
        "status": "COMPLETED",
        "resultUri": "data:,ok",
        "runErrorMessage": "",
    }


async def test_a_dry_run_goes_through_all_but_the_job(nexus):
    run_id = await nexus.submit("scripted", {"mode": "success"}, dry_run=True)
    run = await nexus.ended(run_id)
    assert (run["stage"], run["jobUid"], run["resultUri"]) == ("COMPLETED", "dry-run", "")
    assert await nexus.event_types(run_id) == ["RunRequested", "RunCompleted"]


@pytest.mark.parametrize(
    ("algorithm", "parameters", "stage", "category", "cause"),
    [
        (
            "scripted",
            {"mode": "silent"},
            "FAILED",
            "NoReport",
            "Algorithm finished without reporting a result.",
        ),
        (
            "scripted",
            {"mode": "exit", "code": 3},
            "FAILED",
            "RetriesExhausted",
            "Algorithm failed and has no retries left.",
        ),
        (
            "scripted",
            {"mode": "raise"},
            "FAILED",
            "RetriesExhausted",
            "Algorithm failed and has no retries left.",
        ),
        (
            "scripted",
            {"mode": "signal"},
            "FAILED",
            "KilledBySignal",
            FATAL + "it was ended by a signal.",
        ),
        ("scripted", {"mode": "fatal"}, "FAILED", "FatalExitCode", FATAL + FATAL.removesuffix(": ") + "."),
        (
            "scripted",
            {"mode": "memory", "mebibytes": 256},
            "FAILED",
            "OutOfMemory",
            FATAL + "the container ran out of memory.",
        ),
        (
            "missing",
            {},
            "SCHEDULING_FAILED",
            "CommandNotStarted",
            LAUNCH
            + "Unable to launch a container for the algorithm - please review configuration and try again.",
        ),
    ],
    ids=lambda value: value.get("mode", "") if isinstance(value, dict) else None,
)
async def test_a_failure_ends_with_its_reason(nexus, algorithm, parameters, stage, category, cause):
    run_id = await nexus.submit(algorithm, parameters)
    run = await nexus.ended(run_id)
    diagnosis = run["diagnosis"]
    assert (run["stage"], diagnosis["category"], diagnosis["cause"]) == (stage, category, cause)
    assert diagnosis["hint"]
    await nexus.collected(run_id)
    terminal = next(
        e for e in await nexus.events(run_id) if e["type"] in {"RunFailed", "RunSchedulingFailed"}
    )
    assert terminal["data"]["evidence"]["pods"]


@pytest.mark.parametrize(
    ("parameters", "deadline"),
    # A slow machine has to get to a third attempt.
    [({"mode": "sleep", "seconds": 600}, 2), ({"mode": "transient"}, 8)],
    ids=["sleep", "transient"],
)
async def test_the_deadline_ends_what_would_go_on(nexus, parameters, deadline):
    """Also an exit code that is transient: it does not count as a retry."""
    overrides = {"runtimeEnvironment": {"deadlineSeconds": deadline}}
    run_id = await nexus.submit("scripted", parameters, customConfiguration=overrides)
    run = await nexus.ended(run_id)
    assert run["stage"] == "DEADLINE_EXCEEDED"
    assert (
        run["diagnosis"]["cause"]
        == "Algorithm exceeded its max allowed run time limit or retry attempt count."
    )
    if parameters["mode"] == "transient":
        [end] = [e for e in await nexus.events(run_id) if e["type"] == "RunDeadlineExceeded"]
        pods = end["data"]["evidence"]["pods"]
        assert len(pods) > 2, "a transient exit code is retried beyond maximumRetries"


async def test_a_reported_failure_is_kept_as_it_was_said(nexus):
    run_id = await nexus.submit("scripted", {"mode": "report"})
    run = await nexus.ended(run_id)
    assert (run["stage"], run["diagnosis"]["category"]) == ("FAILED", "Reported")
    answer = (await nexus.http.get(f"/algorithm/v1/metadata/scripted/requests/{run_id}")).json()
    assert answer["algorithm_failure_cause"] == run["diagnosis"]["cause"]
    assert answer["lifecycle_stage"] == "FAILED"


async def test_of_two_completions_the_first_stands(nexus):
    run_id = await nexus.submit("scripted", {"mode": "late"})
    await nexus.collected(run_id)
    run = await nexus.run(run_id)
    assert (run["stage"], run["resultUri"]) == ("COMPLETED", "data:,first")
    reported = [e["data"]["resultUri"] for e in await nexus.events(run_id) if e["type"] == "RunCompleted"]
    assert reported == ["data:,first", "data:,second"], "the second is kept as evidence"


async def test_a_completion_for_an_unknown_run_is_taken_and_changes_nothing(nexus):
    unknown = "01900000-0000-7000-8000-000000000000"
    answer = await nexus.http.post(
        f"/algorithm/v1/complete/scripted/requests/{unknown}", json={"resultUri": "x"}
    )
    assert (answer.status_code, answer.json()) == (202, {})
    assert (await nexus.http.get(f"/api/v1/runs/{unknown}")).status_code == 404
    assert (await nexus.http.get(f"/algorithm/v1/check/scripted/requests/{unknown}")).status_code == 404


async def test_a_completion_under_another_name_is_evidence_only(nexus):
    run_id = await nexus.submit("hold")
    await nexus.reached(run_id, "running")
    answer = await nexus.http.post(
        f"/algorithm/v1/complete/scripted/requests/{run_id}", json={"resultUri": "x"}
    )
    assert answer.status_code == 202
    assert (await nexus.run(run_id))["state"] == "running"
    assert "RunCompleted" in await nexus.event_types(run_id)
    await nexus.cancel("hold", run_id)


async def test_cancel_while_queued(nexus):
    blockers = [await nexus.submit("hold") for _ in range(30)]
    run_id = blockers[-1]
    assert (await nexus.run(run_id))["state"] in {"queued", "placed"}
    answer = await nexus.cancel("hold", run_id)
    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["content-type"].startswith("text/plain")
    run = await nexus.ended(run_id)
    assert (run["stage"], run["startedAt"]) == ("CANCELLED", None)
    assert run["diagnosis"]["cause"] == "Cancelled by 'tests'"
    assert run["diagnosis"]["details"] == "Run cancelled, reason: 'enough'"
    for blocker in blockers[:-1]:
        await nexus.cancel("hold", blocker)
    for blocker in blockers:
        assert (await nexus.ended(blocker))["stage"] == "CANCELLED"


async def test_cancel_while_running_ends_the_process(nexus):
    run_id = await nexus.submit("hold")
    await nexus.reached(run_id, "running")
    await nexus.cancel("hold", run_id, cancellationPolicy="Foreground")
    assert (await nexus.ended(run_id))["stage"] == "CANCELLED"
    await nexus.collected(run_id)
    assert not (nexus.state / "cluster" / "jobs" / run_id).exists()


async def test_cancel_of_a_finished_run_changes_nothing_and_is_recorded(nexus):
    run_id = await nexus.submit("scripted", {"mode": "success"})
    await nexus.ended(run_id)
    assert (await nexus.cancel("scripted", run_id)).status_code == 200
    assert (await nexus.run(run_id))["stage"] == "COMPLETED"
    assert "RunCancelled" in await nexus.event_types(run_id)


async def test_the_same_cancel_is_one_fact_whether_or_not_its_policy_is_named(nexus):
    run_id = await nexus.submit("hold")
    await nexus.cancel("hold", run_id)
    await nexus.cancel("hold", run_id, cancellationPolicy="Background")
    await nexus.ended(run_id)
    assert (await nexus.event_types(run_id)).count("RunCancelled") == 1


async def test_completion_after_a_cancel_changes_nothing(nexus):
    run_id = await nexus.submit("hold")
    await nexus.reached(run_id, "running")
    await nexus.cancel("hold", run_id)
    answer = await nexus.http.post(f"/algorithm/v1/complete/hold/requests/{run_id}", json={"resultUri": "x"})
    assert answer.status_code == 202
    assert (await nexus.http.get(f"/algorithm/v1/check/hold/requests/{run_id}")).json() == {
        "is_processed": True
    }
    run = await nexus.run(run_id)
    assert (run["stage"], run["resultUri"]) == ("CANCELLED", "")


async def test_a_child_belongs_to_its_parent_and_goes_with_it(nexus):
    parent = await nexus.submit("hold")
    placed = await nexus.reached(parent, "running")
    child = await nexus.submit("hold", parentRequest={"requestId": parent, "algorithmName": "hold"})
    run = await nexus.reached(child, "running")
    assert run["parent"] == {"requestId": parent, "algorithmName": "hold"}
    job = await nexus.http.get(f"/algorithm/v1/buffer/hold/requests/{child}")
    environment = {
        e["name"]: e.get("value") for e in job.json()["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert environment["NEXUS__PARENT_REQUEST_ID"] == parent
    await nexus.cancel("hold", parent)
    ended = await nexus.ended(child)
    assert ended["stage"] == "CANCELLED"
    assert parent in ended["diagnosis"]["details"]
    assert placed["jobUid"]


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_a_tree_is_cancelled_in_all_its_generations(nexus, policy):
    """Running ones and one that waits for a slot, each with the reason and the initiator of the cancel."""
    tree: list[str] = []
    for generation in range(3):
        parent = {"parentRequest": {"requestId": tree[-1], "algorithmName": "hold"}} if tree else {}
        tree.append(await nexus.submit("hold", **parent))
        await nexus.reached(tree[-1], "running")
        assert len(tree) == generation + 1
    blockers = [await nexus.submit("hold") for _ in range(10)]
    last = await nexus.submit("hold", parentRequest={"requestId": tree[-1], "algorithmName": "hold"})
    await nexus.cancel("hold", tree[0], cancellationPolicy=policy)
    for parent, run_id in zip(["", *tree], [*tree, last], strict=True):
        assert (await nexus.ended(run_id))["stage"] == "CANCELLED"
        said = next(e["data"] for e in await nexus.events(run_id) if e["type"] == "RunCancelled")
        assert (said["reason"], said["initiator"], said.get("withParent", "")) == ("enough", "tests", parent)
        assert said.get("policy", "Background") == policy
    for run_id in tree:
        await nexus.collected(run_id)
        assert not (nexus.state / "cluster" / "jobs" / run_id).exists()
    for blocker in blockers:
        await nexus.cancel("hold", blocker)


async def test_children_outlive_a_parent_that_completed(nexus):
    parent = await nexus.submit("scripted", {"mode": "sleep", "seconds": 8})
    await nexus.reached(parent, "running")
    child = await nexus.submit("hold", parentRequest={"requestId": parent, "algorithmName": "scripted"})
    await nexus.reached(child, "running")
    assert (await nexus.ended(parent))["stage"] == "COMPLETED"
    assert (await nexus.run(child))["state"] == "running"
    assert not (await nexus.run(parent))["collectedAt"], "its Job would take the child's along"
    await nexus.cancel("hold", child)
    await nexus.collected(parent)


async def test_a_parent_must_be_known_and_unfinished(nexus):
    unknown = {"requestId": "01900000-0000-7000-8000-000000000000", "algorithmName": "hold"}
    answer = await nexus.http.post(
        "/algorithm/v1/run/quick", json={"algorithmParameters": {}, "parentRequest": unknown}
    )
    assert (answer.status_code, "parentRequest.requestId" in answer.text) == (400, True)
    done = await nexus.submit("quick", dry_run=True)
    await nexus.ended(done)
    ended = {"requestId": done, "algorithmName": "quick"}
    answer = await nexus.http.post(
        "/algorithm/v1/run/quick", json={"algorithmParameters": {}, "parentRequest": ended}
    )
    assert (answer.status_code, "has ended (COMPLETED)" in answer.text) == (400, True)


async def test_tags_group_runs_and_can_be_changed(nexus):
    first = await nexus.submit("quick", dry_run=True, tag="before")
    second = await nexus.submit("quick", dry_run=True, tag="before")
    for run_id in (first, second):
        await nexus.ended(run_id)
    answer = await nexus.http.post(
        f"/algorithm/v1/metadata/tags/quick/requests/{second}", json={"newTag": "after"}
    )
    assert (answer.status_code, answer.json()) == (200, {})

    async def tagged(tag: str) -> list[str]:
        rows = (await nexus.http.get(f"/algorithm/v1/results/tags/{tag}")).json()
        return [row["requestId"] for row in rows]

    async def moved() -> bool:
        return await tagged("after") == [second]

    await nexus.until(moved)
    assert await tagged("before") == [first]
    assert await tagged("no-such-tag") == []


async def test_a_flood_of_one_algorithm_does_not_delay_another(nexus):
    flood = await asyncio.gather(*(nexus.submit("short", tag="flood") for _ in range(500)))
    one = await nexus.submit("quick")
    await nexus.ended(one)
    await asyncio.gather(*(nexus.cancel("short", run_id) for run_id in flood))
    log = [json.loads(line) for line in nexus.command("replay").stdout.splitlines()]
    steps = [(event["subject"], event["type"].split(".")[1]) for event in log]
    asked, placed = steps.index((one, "RunRequested")), steps.index((one, "JobCreated"))
    jobs = {run_id: at for at, (run_id, step) in enumerate(steps) if step == "JobCreated"}
    waiting = [jobs.get(run_id, len(steps)) for run_id in flood if jobs.get(run_id, len(steps)) > asked]
    before_it = [at for at in waiting if at < placed]
    assert len(before_it) < len(waiting) / 4, "the one waited for the flood"


async def test_an_idempotency_key_makes_a_retry_safe(nexus):
    async def submit(key: str, body: bytes) -> tuple[int, str]:
        answer = await nexus.http.post(
            "/algorithm/v1/run/quick?dryRun=true", content=body, headers={"Idempotency-Key": key}
        )
        return answer.status_code, answer.json()["requestId"] if answer.status_code == 202 else answer.text

    first = await submit("k-1", b'{"algorithmParameters":{"a":1}}')
    assert first[0] == 202
    assert await submit("k-1", b'{"algorithmParameters":{"a":1}}') == first
    assert await submit("k-2", b'{"algorithmParameters":{"a":1}}') != first
    status, sentence = await submit("k-1", b'{"algorithmParameters":{"a":2}}')
    assert (status, first[1] in sentence) == (400, True)


async def test_a_payload_is_served_byte_for_byte_to_who_holds_its_address(nexus):
    small = b'{"a" : 1.0, "big": 12345678901234567890123, "html": "<&>", "u": "\\u00e9"}'
    large = b'{"pad": "' + b"x" * 200_000 + b'" , "n": 1.0}'
    for parameters in (small, large):
        answer = await nexus.http.post(
            "/algorithm/v1/run/quick?dryRun=true", content=b'{"algorithmParameters": ' + parameters + b"}"
        )
        run_id = answer.json()["requestId"]
        moved = await nexus.http.get(f"/algorithm/v1/payload/quick/requests/{run_id}")
        assert moved.status_code == 302
        assert (await nexus.http.get(moved.headers["location"])).content == parameters


async def test_every_end_is_announced_once(nexus):
    run_id = await nexus.submit("scripted", {"mode": "success"}, tag="announced")
    await nexus.collected(run_id)

    async def announced() -> list[dict]:
        return [n for n in nexus.notifications() if n["requestId"] == run_id]

    [notification] = await nexus.until(announced)
    assert (notification["status"], notification["resultUri"], notification["tag"]) == (
        "COMPLETED",
        "data:,ok",
        "announced",
    )
