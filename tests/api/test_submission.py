"""What a submission's answer says, and what is made of its switches."""

from __future__ import annotations

from datetime import timedelta

import pytest

from api.followed import Followed
from nexus.domain.topics import requests_of
from nexus.ports import Partition
from tests.api.conftest import Api
from tests.streams.conftest import ManualClock
from tests.support.factories import CLUSTER


@pytest.mark.parametrize(
    ("query", "dry"),
    [
        ("", False),
        ("?dryRun=true", True),
        ("?dryRun=True", True),
        ("?dryRun=TRUE", True),
        ("?dryRun=false", False),
        ("?dryRun=False", False),
    ],
)
async def test_a_dry_run_is_asked_for_in_any_case(api, query, dry):
    answer = await api.http.post(f"/algorithm/v1/run/quick{query}", json={"algorithmParameters": {}})
    assert answer.status_code == 202
    [request] = await api.installation.said(requests_of(CLUSTER))
    assert request.dry_run is dry


@pytest.mark.parametrize(
    "value", ["", "1", "yes", "t", "true ", "tru\N{LATIN SMALL LETTER E WITH ACUTE}", "0", "None"]
)
async def test_any_other_dry_run_is_refused(api, value):
    answer = await api.http.post(
        "/algorithm/v1/run/quick", params={"dryRun": value}, json={"algorithmParameters": {}}
    )
    assert (answer.status_code, "dryRun" in answer.text) == (400, True)
    assert await api.installation.said(requests_of(CLUSTER)) == []


async def test_members_without_effect_are_named(api):
    configuration = {
        "container": {"serviceAccountName": "admin", "versionTag": "v2", "imagee": "x"},
        "runtimeEnvironment": {"environmentVariables": [{"name": "A", "value": "b"}], "deadlineSeconds": 5},
        "command": "bash",
        "payloadConfiguration": {"payloadValidFor": "1h"},
        "computeResources": {"cpuLimits": "1", "cpuLimit": "1"},
        "nothing": 1,
    }
    answer = await api.http.post(
        "/algorithm/v1/run/quick", json={"algorithmParameters": {}, "customConfiguration": configuration}
    )
    assert answer.status_code == 202, answer.text
    ignored = "is ignored: it cannot be changed for a single run, the template's value applies."
    unknown = "is ignored: there is no such member."
    assert answer.json()["warnings"] == [
        f"customConfiguration.container.serviceAccountName {ignored}",
        f"customConfiguration.container.imagee {unknown}",
        f"customConfiguration.runtimeEnvironment.environmentVariables {ignored}",
        f"customConfiguration.command {ignored}",
        f"customConfiguration.payloadConfiguration {ignored}",
        f"customConfiguration.computeResources.cpuLimits {unknown}",
        f"customConfiguration.nothing {unknown}",
    ]


@pytest.mark.parametrize(
    "configuration",
    [
        None,
        {},
        {"container": {}, "computeResources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
        {"container": {"serviceAccountName": ""}, "command": None, "errorHandlingBehaviour": {}},
        {"workgroupRef": {"name": "local", "group": "g", "kind": "k"}},
    ],
)
async def test_what_upstreams_client_sends_has_no_warnings(api, configuration):
    answer = await api.http.post(
        "/algorithm/v1/run/quick", json={"algorithmParameters": {}, "customConfiguration": configuration}
    )
    assert answer.status_code == 202, answer.text
    assert answer.json().keys() == {"requestId"}


async def test_many_members_without_effect_are_counted(api):
    members = {f"m{number}": 1 for number in range(50)}
    answer = await api.http.post(
        "/algorithm/v1/run/quick", json={"algorithmParameters": {}, "customConfiguration": members}
    )
    warnings = answer.json()["warnings"]
    assert (len(warnings), warnings[-1]) == (21, "30 more members of customConfiguration have no effect.")


async def test_details_without_a_cause_complete_a_run_and_are_kept(api):
    run = await api.submit()
    await api.http.post(
        f"/algorithm/v1/complete/quick/requests/{run}", json={"errorDetails": "Traceback ..."}
    )
    row = await api.row(run)
    assert (row.stage, row.diagnosis.cause, row.diagnosis.details) == ("COMPLETED", "", "Traceback ...")
    result = (await api.http.get(f"/algorithm/v1/results/quick/requests/{run}")).json()
    assert (result["status"], result["runErrorMessage"]) == ("COMPLETED", "")
    [view] = (await api.http.get("/api/v1/runs")).json()["runs"]
    assert view["diagnosis"]["details"] == "Traceback ..."
    [_, completed] = (await api.http.get(f"/api/v1/runs/{run}/events")).json()["events"]
    assert completed["data"]["details"] == "Traceback ..."


async def test_an_empty_report_completes_a_run_without_a_result(api):
    run = await api.submit()
    await api.http.post(f"/algorithm/v1/complete/quick/requests/{run}", json={})
    row = await api.row(run)
    assert (row.stage, row.result_uri, row.diagnosis) == ("COMPLETED", "", None)


async def test_a_run_is_accepted_once_the_ledgers_follow_its_cluster(installation, tmp_path):
    """Before that it could be accepted, and be answered 404: the watermark would not wait for it."""
    followed = Followed(installation.log, installation.store)
    api = Api(installation, tmp_path, is_followed=followed, read_wait=timedelta(seconds=2))
    await installation.until(lambda: followed(CLUSTER))
    await api.submit()
    await installation.log.make(requests_of("new"), 2)
    assert not await followed("new")
    assert not await followed("unknown")
    installation.clock.advance(60)
    (tmp_path / "strange").mkdir()
    strange = Api(installation, tmp_path / "strange", is_followed=Never(installation.clock))
    answer = await strange.http.post("/algorithm/v1/run/quick", json={"algorithmParameters": {}})
    assert answer.status_code == 503
    assert f"no ledger folds the requests for the cluster {CLUSTER} yet: try again" in answer.text
    assert len(await installation.said(requests_of(CLUSTER))) == 1
    await installation.store.expect([Partition(requests_of("new"), number) for number in range(2)])
    assert await followed("new")
    await api.close()
    await strange.close()


class Never:
    """Time passes at each look."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    async def __call__(self, cluster: str) -> bool:
        self._clock.advance(3)
        return False
